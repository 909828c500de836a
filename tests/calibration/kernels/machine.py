"""An invented GPU: its kernels follow a known law, written as the tables of a profiler; a setting beside them."""

from itertools import product
from pathlib import Path

import pandas as pd

SETTING = """
tables = "bf16"
shortest = 64

[model]
name = "tiny"
layers = 10
hidden = 1024
kv_heads = 2
head_dim = 64
max_position = 8192
{model}

[engine]
max_num_seqs = 64
max_num_batched_tokens = 1024
async_scheduling = true

[kv]
num_blocks = 4096
block_size = 16
bytes_per_token = 5120
"""
NO_HOST = "[host]\n" + "\n".join(
    f"{name} = {{ low = {value}, value = {value}, high = {value} }}"
    for name, value in {
        "kernels": 1,
        "kernel_gap_us": 0,
        "launch_us": 0,
        "step_ms": 0,
        "schedule_ms": 0,
        "schedule_us_per_seq": 0,
        "complete_ms": 0,
        "complete_us_per_seq": 0,
        "link_latency_us": 0,
        "link_gb_per_s": 40,
    }.items()
)
DENSE = {"embedding": 2.0, "final_layernorm": 2.0, "layernorm": 2.0, "qkv_proj": 100.0, "down_proj": 200.0}
"""Microseconds of any number of rows up to KNEE; from there on as many more as there are more rows."""
KNEE = 128
PER_SEQUENCE = {"lm_head": 200.0, "sampler": 20.0}
DECODE_READ, MIXED_READ, PAIR = 1.5e-3, 4.0e-3, 4e-5
"""Microseconds of a layer's attention: a stored token, alone and beside a prefill; a query-key pair."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GRID = (64, 128, 256, 512, 1024, 2048)


def dense_us(name: str, rows: int) -> float:
    return DENSE[name] * max(1.0, rows / KNEE)


def attention_us(chunk: int, stored: int, decodes: int, context: int) -> float:
    read = MIXED_READ if chunk else DECODE_READ
    return 5.0 + read * decodes * context + PAIR * (chunk * stored + chunk * (chunk + 1) // 2)


def write(folder: Path, host: str = NO_HOST, model: str = "", parallel: int = 1, head: str = "") -> Path:
    """The tables below folder; returns the setting's file. parallel: of the folder tpN."""
    place = folder / "bf16" / f"tp{parallel}"
    place.mkdir(parents=True)
    (folder / "bf16" / "meta.yaml").write_text("vllm_version: 0.19.0\ngpu: invented\nengine:\n  tp: 1\n")
    dense = [(name, rows, dense_us(name, rows)) for name in DENSE for rows in (1, *range(16, 1025, 16))]
    pd.DataFrame(dense, columns=["layer", "tokens", "time_us"]).to_csv(place / "dense.csv", index=False)
    sequences = [(name, n, time) for name, time in PER_SEQUENCE.items() for n in SIZES]
    columns = ["layer", "sequences", "time_us"]
    pd.DataFrame(sequences, columns=columns).to_csv(place / "per_sequence.csv", index=False)
    prefills = [(0, 0), *product((16, 64, 256, 512, 1024), (0, *GRID))]
    decodes = [(0, 0), *product((1, 2, 4, 8, 16, 32, 64), GRID)]
    shapes = [(*p, *d) for p, d in product(prefills, decodes) if p[0] or d[0]]
    attention = [(*shape, attention_us(*shape)) for shape in shapes]
    columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"]
    pd.DataFrame(attention, columns=columns).to_csv(place / "attention.csv", index=False)
    setting = folder / "setting.toml"
    setting.write_text(head + SETTING.format(model=model) + host)
    return setting

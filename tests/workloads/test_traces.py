"""Public traces: what is read is what is there, what is changed is told, and what is wrong is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError, WorkloadError
from workloads.jsonl import write_jsonl
from workloads.rescale import rescale
from workloads.traces import read_any, read_trace
from workloads.workload import Workload, WorkloadRequest, materialize

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.9951690,396,109\r\n"
    "2023-11-16 18:15:51.0000000,879,5"  # the last line of the published files has no end
)
MOONCAKE = [
    {"timestamp": 0, "input_length": 1100, "output_length": 50, "hash_ids": [0, 1, 2]},
    {"timestamp": 27.5, "input_length": 1500, "output_length": 40, "hash_ids": [0, 1, 3]},
    {"timestamp": 3000, "input_length": 512, "output_length": 9, "hash_ids": [9]},
]


def azure(folder: Path, text: str = AZURE) -> Path:
    (folder / "azure.csv").write_bytes(text.encode())
    return folder / "azure.csv"


def mooncake(folder: Path, *lines: dict) -> Path:
    (folder / "moon.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or MOONCAKE))
    return folder / "moon.jsonl"


def test_azure(tmp_path: Path) -> None:
    load, notes = read_trace(azure(tmp_path))
    assert load.name == "azure"
    assert notes == []
    assert [(r.request_id, r.arrival_time, r.prompt_len, r.output_len, r.max_tokens) for r in load.requests] == [
        ("0", 0, 374, 44, 44),
        ("1", 4_314_579_000, 396, 109, 109),
        ("2", 4_319_410_000, 879, 5, 5),
    ]
    packed = tmp_path / "azure.csv.gz"
    packed.write_bytes(gzip.compress(AZURE.encode()))
    assert read_trace(packed)[0] == load
    assert read_any(packed)[0] == load


def test_mooncake(tmp_path: Path) -> None:
    load, notes = read_trace(mooncake(tmp_path))
    assert notes == []
    assert [(r.arrival_time, r.prompt_len, r.hash_ids) for r in load.requests] == [
        (0, 1100, (0, 1, 2)),
        (27_500_000, 1500, (0, 1, 3)),
        (3_000_000_000, 512, (9,)),
    ]
    a, b, _ = (tuple(r.prompt_token_ids) for r in materialize(load))
    assert a[:1024] == b[:1024]
    assert a[1024:1100] != b[1024:1100]


def test_options(tmp_path: Path) -> None:
    load, notes = read_trace(azure(tmp_path), limit=2, speedup=2.0, scale=0.01, max_len=3)
    assert [(r.arrival_time, r.prompt_len, r.output_len) for r in load.requests] == [(0, 3, 1), (2_157_289_500, 3, 1)]
    assert notes == [
        "requests with a length that scale 0.01 takes below half a token, and that became 1: 1",
        "2 of 2 prompts cut to 3 tokens",
    ]


@pytest.mark.parametrize(
    "option", [{"limit": 0}, {"speedup": 0.0}, {"speedup": float("nan")}, {"scale": -1.0}, {"max_len": 0}]
)
def test_options_that_make_no_sense(tmp_path: Path, option: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        read_trace(azure(tmp_path), **option)


def test_lines_out_of_order_are_sorted_before_the_limit(tmp_path: Path) -> None:
    load, _ = read_trace(mooncake(tmp_path, MOONCAKE[2], MOONCAKE[0], MOONCAKE[1]), limit=2)
    assert [(r.request_id, r.arrival_time, r.prompt_len) for r in load.requests] == [
        ("0", 0, 1100),
        ("1", 27_500_000, 1500),
    ]


@pytest.mark.parametrize("scale", [0.125, 0.1, 0.003, 2.0])
def test_scaled_prompts_share_what_they_shared(tmp_path: Path, scale: float) -> None:
    load, notes = read_trace(mooncake(tmp_path), scale=scale)
    block = load.requests[0].hash_block
    a, b, _ = (tuple(r.prompt_token_ids) for r in materialize(load))
    assert a[: 2 * block] == b[: 2 * block]
    assert a[2 * block :] != b[2 * block : len(a)] or scale < 0.01
    told = {0.1: [f"a hash id stands for 51 tokens instead of 512: such prompts are scaled by {51 / 512:.4g}, not 0.1"]}
    if scale != 0.003:
        assert notes == told.get(scale, [])
    assert len(a) == pytest.approx(1100 * block / 512, abs=1)


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 900)), min_size=1, max_size=9),
    st.floats(0.001, 4),
    st.none() | st.integers(1, 900),
)
def test_rescaling_keeps_requests_valid(lengths: list[tuple[int, int]], scale: float, max_len: int | None) -> None:
    members = [
        WorkloadRequest(str(i), i, p, o, o + 3, hash_ids=tuple(range(-(-p // 512)))) for i, (p, o) in enumerate(lengths)
    ]
    scaled, _ = rescale(members, scale, max_len)  # a request checks itself when it is made
    assert len(scaled) == len(members)
    assert all(max_len is None or r.prompt_len <= max_len for r in scaled)
    assert all(r.arrival_time == m.arrival_time for r, m in zip(scaled, members, strict=True))


def test_zero_tokens(tmp_path: Path) -> None:
    place = azure(tmp_path, AZURE.replace("396,109", "396,0").replace("374,44", "0,44"))
    with pytest.raises(WorkloadError, match=r"azure.csv:2: 0 prompt and 44 output .*2 such lines; --drop-invalid"):
        read_trace(place)
    load, notes = read_trace(place, drop_invalid=True)
    assert notes == ["2 requests of zero tokens left out"]
    assert [(r.request_id, r.arrival_time, r.prompt_len) for r in load.requests] == [("0", 0, 879)]
    with pytest.raises(WorkloadError, match="no request in this trace"):
        read_trace(azure(tmp_path, AZURE.splitlines()[0] + "\n2023-11-16 18:15:46,0,0\n"), drop_invalid=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("879,5", "879", r"azure.csv:4: 2 columns, expected 3"),
        ("879,5", "879,5.5", r"azure.csv:4: GeneratedTokens '5.5' is not a number of tokens"),
        ("879,5", "-879,5", r"azure.csv:4: ContextTokens '-879'"),
        ("18:15:51", "18:75:51", r"azure.csv:4: TIMESTAMP '2023-11-16 18:75:51.0000000' is not like"),
        ("TIMESTAMP,", "TIME,", r"azure.csv:1: no trace format that is known \(Azure CSV, .*'TIME,Context"),
        ("2023-11-16 18:15:51", "2024-11-16 18:15:51", r"azure.csv:4: .*26 days"),
    ],
)
def test_azure_lines_that_are_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        read_trace(azure(tmp_path, AZURE.replace(old, new)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"timestamp": 0, "input_length": 5}, "output_length is missing"),
        ({**MOONCAKE[0], "timestamp": -1}, "timestamp is -1; it must be a finite"),
        ({**MOONCAKE[0], "input_length": "5"}, 'input_length is "5"; it must be a whole number'),
        ({**MOONCAKE[0], "hash_id": []}, "unknown key 'hash_id'; did you mean hash_ids"),
        ({**MOONCAKE[0], "hash_ids": [1]}, "hash_ids has 1 ids; input_length 1100 in blocks of 512 tokens needs 3"),
    ],
)
def test_mooncake_lines_that_are_wrong(tmp_path: Path, line: dict, message: str) -> None:
    with pytest.raises(WorkloadError, match=r"moon.jsonl:2: " + message):
        read_trace(mooncake(tmp_path, MOONCAKE[0], line))


def test_a_workload_file_is_no_trace_but_may_be_any(tmp_path: Path) -> None:
    load = Workload(
        "w", (WorkloadRequest("x", 7, 80, 8, 16), WorkloadRequest("y", 9, 8, 8, 8, prompt_token_ids=(5,) * 8))
    )
    write_jsonl(tmp_path / "w.jsonl", load)
    with pytest.raises(WorkloadError, match="a workload file already"):
        read_trace(tmp_path / "w.jsonl")
    assert read_any(tmp_path / "w.jsonl") == (load, [])
    cut, notes = read_any(tmp_path / "w.jsonl", max_len=5)
    assert notes == ["2 of 2 prompts cut to 5 tokens"]
    assert cut.requests[1].prompt_token_ids == (5,) * 5
    with pytest.raises(WorkloadError, match="request y: a prompt given as prompt_token_ids cannot be scaled"):
        read_any(tmp_path / "w.jsonl", scale=0.5)
    write_jsonl(tmp_path / "w.jsonl", Workload("w", load.requests[:1]))
    (half,) = read_any(tmp_path / "w.jsonl", scale=0.5)[0].requests
    assert (half.request_id, half.arrival_time, half.prompt_len, half.output_len, half.max_tokens) == ("x", 7, 40, 4, 8)


def test_an_empty_file(tmp_path: Path) -> None:
    for read in (read_trace, read_any):
        with pytest.raises(WorkloadError, match="empty"):
            read(azure(tmp_path, ""))


# requests, span in s, mean prompt, mean output: ../shared/traces/trace-statistics.md
REAL = {
    "AzureLLMInferenceTrace_code.csv.gz": (8819, 3436, 2047.8, 27.9),
    "AzureLLMInferenceTrace_conv.csv.gz": (19366, 3502, 1154.7, 211.1),
    "mooncake_conversation_trace.jsonl.gz": (12031, 3537, 12035.1, 342.6),
    "mooncake_synthetic_trace.jsonl.gz": (3993, 1022, 15325.5, 149.1),
}


@pytest.mark.parametrize("name", REAL)
def test_real_traces_have_their_published_means(repo: Path, name: str) -> None:
    place = repo.parent / "shared" / "traces" / name
    if not place.exists():
        pytest.skip(f"{place} is absent: the project does not ship public traces")
    load, notes = read_trace(place)
    count, span, prompt, output = REAL[name]
    assert notes == []
    assert len(load.requests) == count
    assert load.requests[-1].arrival_time / 1e9 == pytest.approx(span, abs=1)
    assert sum(r.prompt_len for r in load.requests) / count == pytest.approx(prompt, abs=0.05)
    assert sum(r.output_len for r in load.requests) / count == pytest.approx(output, abs=0.05)


def test_published_quantiles_are_those_of_the_traces(repo: Path) -> None:
    import numpy as np

    from workloads.published import PUBLISHED

    for kind, marginals in PUBLISHED.items():
        place = repo.parent / "shared" / "traces" / f"AzureLLMInferenceTrace_{kind.removeprefix('azure-')}.csv.gz"
        if not place.exists():
            pytest.skip(f"{place} is absent: the project does not ship public traces")
        members = read_trace(place)[0].requests
        for table, values in (
            (marginals.prompt, [r.prompt_len for r in members]),
            (marginals.output, [r.output_len for r in members]),
        ):
            assert np.allclose(np.quantile(values, table.shares), table.tokens, atol=0.0501, rtol=0)
            assert table.mean == pytest.approx(np.mean(values), rel=0.04)

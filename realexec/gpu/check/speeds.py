"""How fast each kernel is against the device's ceilings, on batches like those a server runs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from triton.testing import do_bench

from realexec.compute import name_of
from realexec.gpu.check.ceilings import Ceilings
from realexec.kernels.activation import silu_mul
from realexec.kernels.decode import DecodeWorkspace, decode_attention
from realexec.kernels.norm import add_rms_norm, rms_norm
from realexec.kernels.prefill import prefill_attention
from realexec.kernels.rope import rotate_qk
from realexec.kernels.sampling import sample
from realexec.kernels.store import store_kv

HEADS, KV_HEADS, DIM, BLOCK = 16, 8, 128, 16  # Qwen3-0.6B's attention
HIDDEN, INTERMEDIATE, VOCAB = 1024, 3072, 151936
TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Case:
    """launch runs the kernel once. bytes, flops: what it must move and compute at least."""

    kernel: str
    batch: str
    launch: Callable[[], object]
    num_bytes: float
    flops: float = 0.0


@dataclass(frozen=True, slots=True)
class Speed:
    """share: of the ceiling that bounds the kernel: bandwidth, or products where `bound` says compute."""

    kernel: str
    batch: str
    microseconds: float
    bytes_per_s: float
    flops_per_s: float
    bound: str
    share: float


def measure_speeds(device: torch.device, dtype: torch.dtype, ceilings: Ceilings) -> list[Speed]:
    return [_measure(case, ceilings, ceilings.flops_per_s[name_of(dtype)]) for case in cases(device, dtype)]


def _measure(case: Case, ceilings: Ceilings, flops_per_s: float) -> Speed:
    seconds = do_bench(case.launch) / 1e3
    by_memory, by_compute = case.num_bytes / ceilings.bytes_per_s, case.flops / flops_per_s
    bound = "compute" if by_compute > by_memory else "memory"
    return Speed(
        kernel=case.kernel,
        batch=case.batch,
        microseconds=seconds * 1e6,
        bytes_per_s=case.num_bytes / seconds,
        flops_per_s=case.flops / seconds,
        bound=bound,
        share=max(by_memory, by_compute) / seconds,
    )


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """One after the other, so that only one case's tensors are alive."""
    size = dtype.itemsize

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    rows, weight, out = normal(TOKENS, HIDDEN), normal(HIDDEN), normal(TOKENS, HIDDEN)
    residual = normal(TOKENS, HIDDEN)
    yield Case("rms_norm", f"{TOKENS} tokens", lambda: rms_norm(rows, weight, 1e-6, out), 2 * rows.nbytes)
    yield Case(
        "add_rms_norm",
        f"{TOKENS} tokens",
        lambda: add_rms_norm(rows, residual, weight, 1e-6, out),
        4 * rows.nbytes,
    )
    gate_up, activated = normal(TOKENS, 2 * INTERMEDIATE), normal(TOKENS, INTERMEDIATE)
    yield Case("silu_mul", f"{TOKENS} tokens", lambda: silu_mul(gate_up, activated), 3 * activated.nbytes)

    qkv = normal(TOKENS, HEADS + 2 * KV_HEADS, DIM)
    q_norm, k_norm = normal(DIM), normal(DIM)
    positions = torch.arange(TOKENS, device=device)
    angles = torch.rand(TOKENS, DIM // 2, device=device)
    cos, sin = angles.cos(), angles.sin()
    rotated = TOKENS * (HEADS + KV_HEADS) * DIM * size
    yield Case(
        "rotate_qk",
        f"{TOKENS} tokens, norms of q and k",
        lambda: rotate_qk(qkv, HEADS, KV_HEADS, positions, cos, sin, q_norm, k_norm, 1e-6),
        2 * rotated + cos.nbytes + sin.nbytes,
    )
    keys, values, _ = _cache(normal, TOKENS // BLOCK)
    slots = torch.randperm(TOKENS, device=device)
    yield Case(
        "store_kv",
        f"{TOKENS} tokens",
        lambda: store_kv(qkv[:, HEADS : HEADS + KV_HEADS], qkv[:, HEADS + KV_HEADS :], keys, values, slots),
        4 * TOKENS * KV_HEADS * DIM * size,
    )
    for seqs, context in ((1, 32768), (8, 8192), (64, 2048), (256, 1024)):
        yield _decode(device, normal, seqs, context, size)
    for prompts, length, stored in ((1, 8192, 0), (8, 1024, 0), (4, 512, 8192)):
        yield _prefill(device, normal, prompts, length, stored, size)
    for name, temperature, top_k, top_p in (
        ("greedy", 0.0, 0, 1.0),
        ("temperature", 1.0, 0, 1.0),
        ("top-k, top-p", 1.0, 50, 0.9),
    ):
        yield _sampling(device, name, temperature, top_k, top_p)


def _cache(normal: Callable[..., Tensor], blocks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values, and an order of their blocks that is not that of memory."""
    keys, values = normal(blocks, BLOCK, KV_HEADS, DIM), normal(blocks, BLOCK, KV_HEADS, DIM)
    return keys, values, torch.randperm(blocks, device=keys.device, dtype=torch.int32)


def _decode(device: torch.device, normal: Callable[..., Tensor], seqs: int, context: int, size: int) -> Case:
    keys, values, order = _cache(normal, seqs * context // BLOCK)
    tables = order.view(seqs, -1)
    lens = torch.full((seqs,), context, dtype=torch.int32, device=device)
    queries, out = normal(seqs, HEADS, DIM), normal(seqs, HEADS, DIM)
    workspace = DecodeWorkspace(seqs, HEADS, DIM, device)
    scale = 1 / math.sqrt(DIM)
    return Case(
        "decode_attention",
        f"{seqs} sequences of {context} tokens",
        lambda: decode_attention(queries, keys, values, lens, tables, out, workspace, scale),
        2 * seqs * context * KV_HEADS * DIM * size,
        4 * seqs * context * HEADS * DIM,
    )


def _prefill(
    device: torch.device, normal: Callable[..., Tensor], prompts: int, length: int, stored: int, size: int
) -> Case:
    context = stored + length
    keys, values, order = _cache(normal, prompts * context // BLOCK)
    tables = order.view(prompts, -1)
    starts = torch.arange(prompts + 1, device=device, dtype=torch.int32) * length
    lens = torch.full((prompts,), context, dtype=torch.int32, device=device)
    queries, out = normal(prompts * length, HEADS, DIM), normal(prompts * length, HEADS, DIM)
    scale = 1 / math.sqrt(DIM)
    pairs = prompts * (length * stored + length * (length + 1) // 2)
    return Case(
        "prefill_attention",
        f"{prompts} prompts of {length} tokens" + (f" behind {stored} stored" if stored else ""),
        lambda: prefill_attention(queries, keys, values, starts, lens, tables, out, scale),
        (2 * prompts * context * KV_HEADS + 2 * prompts * length * HEADS) * DIM * size,
        4 * pairs * HEADS * DIM,
    )


def _sampling(device: torch.device, name: str, temperature: float, top_k: int, top_p: float, rows: int = 64) -> Case:
    logits = torch.randn(rows, VOCAB, device=device)
    temperatures = torch.full((rows,), temperature, device=device)
    ks = torch.full((rows,), top_k, dtype=torch.int32, device=device)
    ps = torch.full((rows,), top_p, device=device)
    words, out = torch.arange(rows, device=device), torch.empty(rows, dtype=torch.int64, device=device)
    return Case(
        f"sample: {name}",
        f"{rows} rows of {VOCAB}",
        lambda: sample(logits, temperatures, ks, ps, words, out),
        logits.nbytes,
    )

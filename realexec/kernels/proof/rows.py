"""Cases of the kernels that take rows one by one: norms, rotation, activation."""

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor

from realexec.kernels.activation import silu_mul
from realexec.kernels.checks import HEAD_DIMS
from realexec.kernels.norm import add_rms_norm, rms_norm
from realexec.kernels.proof.verdict import Comparison, compare, same
from realexec.kernels.rope import rotate_qk

NAN = float("nan")
SIZES = (1, 64, 288, 1000, 4096)
EPS = 1e-5
MAX_POSITION = 500
MARGIN = 8


def norm_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random, generator = Random(1), torch.Generator().manual_seed(1)
    for size in SIZES:
        for rows in (0, *(random.randint(1, 5) for _ in range(rounds))):
            case = f"{rows} rows of {size}"
            x = _framed(torch.randn(rows, size, generator=generator).to(device, dtype))
            weight = torch.randn(size, generator=generator).to(device, dtype)
            out = torch.full_like(x, NAN)
            rms_norm(_inside(x), weight, EPS, _inside(out))
            yield compare(case, out, _normed(x, weight))

            residual = _framed(torch.randn(rows, size, generator=generator).to(device, dtype))
            total = x.double() + residual.double()
            add_rms_norm(_inside(x), _inside(residual), weight, EPS, _inside(x))
            yield compare(f"{case}, added", residual, total)
            yield compare(f"{case}, added, normed in place", x, _normed(residual, weight))


def rotate_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random, generator = Random(2), torch.Generator().manual_seed(2)
    for head_dim in HEAD_DIMS:
        angles = torch.rand(MAX_POSITION, head_dim // 2, generator=generator, dtype=torch.float64) * 6.0
        cos, sin = angles.cos().float().to(device), angles.sin().float().to(device)
        for tokens in (0, *(random.randint(1, 4) for _ in range(rounds))):
            heads, kv_heads = random.choice([(6, 2), (3, 1), (16, 8), (1, 1), (40, 8)])
            qkv = torch.randn(tokens, heads + 2 * kv_heads, head_dim, generator=generator).to(device, dtype)
            positions = torch.randint(MAX_POSITION, (tokens,), generator=generator).to(device)
            for normed in (False, True):
                case = f"{tokens} tokens of {heads} + {kv_heads} x {head_dim}{', normed' * normed}"
                weights = torch.randn(2, head_dim, generator=generator).to(device, dtype)
                q_norm, k_norm = (weights[0], weights[1]) if normed else (None, None)
                rotated = qkv.clone()
                rotate_qk(rotated, heads, kv_heads, positions, cos, sin, q_norm, k_norm, EPS)
                pairs = qkv[:, : heads + kv_heads].double()
                if normed:
                    queries, keys = pairs.split([heads, kv_heads], dim=1)
                    pairs = torch.cat([_normed(queries, weights[0]), _normed(keys, weights[1])], dim=1)
                numbers = torch.complex(*pairs.chunk(2, dim=2))
                numbers *= torch.complex(cos.double(), sin.double())[positions].unsqueeze(1)
                yield compare(case, rotated[:, : heads + kv_heads], torch.cat([numbers.real, numbers.imag], dim=2))
                yield same(f"{case}, values", rotated[:, heads + kv_heads :], qkv[:, heads + kv_heads :])


def activation_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random, generator = Random(3), torch.Generator().manual_seed(3)
    for size in SIZES:
        for rows in (0, *(random.randint(1, 5) for _ in range(rounds))):
            gate_up = (torch.randn(rows, 2 * size, generator=generator) * 4.0).to(device, dtype)
            out = torch.full((rows, size + 2 * MARGIN), NAN, dtype=dtype, device=device)
            silu_mul(gate_up, _inside(out))
            gate, up = gate_up.double().chunk(2, dim=1)
            yield compare(f"{rows} rows of {size}", out, _framed(gate * gate.sigmoid() * up))


def _framed(x: Tensor) -> Tensor:
    """Rows between margins of NaN, which nobody may read as numbers or write."""
    return torch.nn.functional.pad(x, (MARGIN, MARGIN), value=NAN)


def _inside(framed: Tensor) -> Tensor:
    return framed[:, MARGIN:-MARGIN]


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    """Over the last axis in float64, or over what is inside its frame."""
    exact = x.double()
    if x.shape[-1] > len(weight):
        return _framed(_normed(_inside(exact), weight))
    return exact / (exact.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()

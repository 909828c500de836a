"""The GPU's executor and the CPU's give the same tokens for the same plans: interpreted, and on a device."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("numba")

from realexec.gpu.graphs import decode_sizes, mixed_sizes, step_sizes
from realexec.gpu.proof import compare_engines
from tests.realexec.gpu.overlapped import compare_overlapped


def test_interpreted(repo: Path) -> None:
    """Chunked prompts, shared prefixes, swaps, greedy and drawn tokens, with a bias and with norms of q and k.

    A process interprets kernels or compiles them, so this is one of its own.
    """
    found = json.loads(_interpreted(repo, "realexec.gpu.proof"))
    assert sum(agreement["tokens"] for agreement in found) > 30
    assert sum(agreement["preempted"] for agreement in found) > 0


def test_a_step_finds_the_tokens_of_the_one_before_on_the_device(repo: Path) -> None:
    """Two in flight: the host prepares steps without knowing what it will only read later."""
    awaiting, tokens, _ = map(int, _interpreted(repo, "tests.realexec.gpu.overlapped").split())
    assert awaiting > 5
    assert tokens > 10


def _interpreted(repo: Path, module: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", module],
        cwd=repo,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
def test_two_in_flight_on_a_device(graphs: bool) -> None:
    awaiting, _, different = compare_overlapped(torch.device("cuda"), 40, 24, 0, graphs=graphs)
    assert awaiting > 20
    assert different == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_on_a_device(graphs: bool, qk_norm: bool) -> None:
    found = compare_engines(torch.device("cuda"), 40, 24, 0, qk_norm=qk_norm, graphs=graphs)
    assert found.preempted > 5
    assert found.different == 0


@pytest.mark.parametrize("most", [1, 2, 3, 8, 9, 16, 17, 100, 512])
def test_every_decode_step_has_a_bucket_that_is_little_larger(most: int) -> None:
    sizes = decode_sizes(most)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[-1] == most
    for seqs in range(1, most + 1):
        bucket = next(size for size in sizes if size >= seqs)
        assert bucket < seqs + 16
        assert bucket < 2 * seqs or bucket <= 16


@pytest.mark.parametrize("most", [1, 63, 64, 65, 2000, 2048, 8192, 16384])
def test_every_mixed_step_has_a_bucket_that_is_little_larger(most: int) -> None:
    sizes = mixed_sizes(most)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[-1] == min(most, 8192)
    for tokens in range(1, sizes[-1] + 1):
        bucket = next(size for size in sizes if size >= tokens)
        assert bucket < tokens + 64 or bucket <= tokens * 1.25


def test_a_profile_knows_the_sizes_of_both_kinds() -> None:
    assert step_sizes(600, 20) == (1, 2, 4, 8, 16, 20, 64, 128, 192, 256, 320, 384, 448, 512, 600)

"""Every kernel against float64 on a GPU, compiled: where there is one."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("numba")

from realexec.kernels.checks import DTYPES
from realexec.kernels.proof.checks import CHECKS, prove

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("check", CHECKS)
def test_a_kernel_is_its_reference(check: str, dtype: torch.dtype) -> None:
    verdict = prove(check, "cuda", dtype, rounds=10)
    assert verdict.passed, verdict

"""Sweeps without other processes."""

import pytest

from tests.lab.sweep.made import in_this_process


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are computed in this process."""
    monkeypatch.setattr("lab.sweep.pool.here", in_this_process)

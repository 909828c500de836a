"""Rows of served steps, with a runner that computes nothing."""

from collections.abc import Sequence
from typing import ClassVar

import pytest

import records.drift
from calibration.measuring.session import Session
from calibration.measuring.traffic import AZURE_CONVERSATION
from serving.schedule.config import EngineConfig
from tests.realexec.driven import FakeRunner


class Fake(FakeRunner):
    conditions: ClassVar = {"device": "cpu"}

    def never_sample(self, token_ids: Sequence[int]) -> None: ...


@pytest.mark.parametrize("most", [1000, 2])
def test_each_step_has_both_probes_of_a_run_however_long(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A record keeps no more than so many probes, and averages neighbours."""
    monkeypatch.setattr(records.drift, "MOST_PROBES", most)
    session = Session(Fake(0.005), EngineConfig(num_blocks=2048), AZURE_CONVERSATION, 0)
    rows, served = session.served("all", "vllm", None, 10)
    assert len(rows) == len(served.receipts)
    assert (rows["probe_ms"] - 1.0).abs().max() < 0.5
    assert (rows["host_ms"] > 0).all()
    assert (rows["complete_ms"].dropna() > 0).all()
    assert rows["probed"].any()

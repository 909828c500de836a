"""Capacity is what an engine keeps up, however few requests were measured."""

from dataclasses import asdict

import pytest

from calibration.measuring.capacity import capacity_of
from calibration.measuring.session import Served
from calibration.measuring.traffic import AZURE_CONVERSATION
from realexec.load import ExecutedRun
from records.profile_cost import ProfileCost
from serving.schedule.config import EngineConfig
from serving.schedule.engine import build_scheduler
from sim.simulate import simulate
from tests.records.test_profile import PROFILE, terms
from workloads.truth import Truth
from workloads.workload import requests_of

CONFIG = EngineConfig(num_blocks=4096, max_num_seqs=64)
A_TOKEN = PROFILE.model_copy(
    update={
        "execute": terms(("num_tokens", 0, None, 0.8)),
        "schedule": terms(("one", 0, None, 0.0)),
        "complete": terms(("one", 0, None, 0.0)),
        "return_": terms(("one", 0, None, 0.0)),
        "hull": {},
        "draws": (),
    }
)


def burst(requests: int, slower: float) -> Served:
    workload = AZURE_CONVERSATION.draw(None, requests, 7)
    scheduler = build_scheduler("vllm", settings=asdict(CONFIG))
    cost = ProfileCost(A_TOKEN.times(slower))
    requests_sent = list(requests_of(workload))
    receipts = simulate(requests_sent, Truth(workload), scheduler, cost).receipts
    return Served(ExecutedRun(receipts, requests_sent, {}, {}, [0] * len(requests_sent), []), workload)


@pytest.mark.parametrize("requests", [40, 200])
@pytest.mark.parametrize("slower", [1.0, 1.3])
def test_where_every_token_costs_the_same_it_is_tokens_a_second(requests: int, slower: float) -> None:
    """Forty requests all run at once: none finishes before all prompts are computed, so their ends come three times as
    fast as an engine can keep up.
    """
    prompt, output = AZURE_CONVERSATION.mean_lengths()
    found = capacity_of(A_TOKEN, CONFIG, AZURE_CONVERSATION, burst(requests, slower), seed=3)
    assert found * (prompt + output - 1) * 0.8e-3 * slower == pytest.approx(1, rel=0.08)

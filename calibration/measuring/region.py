"""The steps that a workload will run, before it runs: simulated at several loads with what is known of step times."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from calibration.measuring.batches import BatchShape
from calibration.measuring.traffic import Traffic
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler
from workloads.truth import Truth
from workloads.workload import requests_of

SERVED = (("vllm", 0.5), ("vllm", 0.8), ("vllm", 0.95), ("nano-vllm", 0.8))
"""Preset, and share of capacity."""
REQUESTS = 150
STEPS_KEPT = 1000


def region(profile: Profile, config: EngineConfig, traffic: Traffic, capacity: float, seed: int) -> list[BatchShape]:
    """The batches of some simulated steps, drawn evenly. capacity: requests/s."""
    from sim.simulate import simulate

    cost = ProfileCost(profile)
    shapes: list[BatchShape] = []
    for k, (preset, load) in enumerate(SERVED):
        workload = traffic.draw(load * capacity, REQUESTS, seed + k)
        scheduler = build_scheduler(preset, settings=asdict(config))
        run = simulate(list(requests_of(workload)), Truth(workload), scheduler, cost)
        shapes += [_shape(receipt.plan) for receipt in run.receipts]
    return _evenly(shapes, STEPS_KEPT, seed)


def _shape(plan: Plan) -> BatchShape:
    pairs = list(zip(plan.starts, plan.num_tokens, strict=True))
    return BatchShape(
        decodes=tuple(start for start, n in pairs if n == 1), prefills=tuple((start, n) for start, n in pairs if n > 1)
    )


def _evenly(shapes: Sequence[BatchShape], most: int, seed: int) -> list[BatchShape]:
    chosen = np.random.default_rng(seed).permutation(len(shapes))[:most]
    return [shapes[i] for i in sorted(chosen)]

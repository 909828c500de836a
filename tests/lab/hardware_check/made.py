"""Sweeps' standings and profiles that the tests are made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.hardware_check.contest import Chance, Ranked, Standing
from lab.run_figures import FIGURES
from lab.scenario.load import Load, ServiceLevel
from lab.scenario.scenario import Scenario
from records.cost_terms import CostTerms, Term
from records.profile import KVCapacity, Profile, write_profile

TTFT = FIGURES["ttft.mean"]


def flat_profile(path: Path, model: Mapping[str, Any], hardware: Mapping[str, Any], step_ms: float = 5.0) -> Path:
    """A step takes step_ms and 10 us a token; probe_ms 0.4, as the real engine's runner takes on a common processor."""

    def cost(*terms: Term) -> CostTerms:
        return CostTerms(terms=terms)

    step = Term(name="step", feature="one", coefficient_ms=step_ms, meaning="a step")
    token = Term(name="token", feature="num_tokens", coefficient_ms=0.01, meaning="a token")
    profile = Profile(
        name="flat",
        model=dict(model),
        hardware=dict(hardware),
        software={},
        conditions={},
        execute=cost(step, token),
        schedule=cost(),
        complete=cost(),
        return_=cost(),
        residual={},
        hull={},
        probe={"ms": 0.4},
        kv=KVCapacity(num_blocks=512, block_size=16, bytes_per_token=100),
    )
    write_profile(path, profile)
    return path


def standing(folder: Path, seeds: int = 2, **load: Any) -> Standing:
    """Three cells: of many seats, of two, and of one. Each seed has other requests."""
    given = {"requests": 24, "rate": 40.0, "lengths": "constant(prompt=48, output=12)", **load}
    slo = ServiceLevel(ttft_s=0.5)
    base = Scenario(load=Load(**given, slo=slo), profile=str(folder / "profile.json"), preset="vllm")
    seats = {"many seats": 16, "two seats": 2, "one seat": 1}
    small = {"max_num_batched_tokens": 256, "max_model_len": 256}  # so that an engine is soon warm
    cells = {name: {"max_num_seqs": number, **small} for name, number in seats.items()}
    ranked = tuple(
        Ranked(name, base.model_copy(update={"settings": settings}), float(i), None)
        for i, (name, settings) in enumerate(cells.items(), 1)
    )
    chances = tuple(Chance(seed, None) for seed in range(1, seeds + 1))
    return Standing("a group", TTFT, ranked, chances, folder, "0" * 64)

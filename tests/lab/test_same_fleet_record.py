"""A fleet's fast path writes the bytes that its plain path writes, whatever fails, slows down or is handed over."""

import random
from pathlib import Path
from typing import Any

import pytest

from lab.fleet_runs import simulate_fleet
from lab.fleet_spec import FleetSpec, Member, members
from lab.runs import scheduler_of
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.replay import replay
from records.run import FILES, read_run
from serving.errors import ServetwinError
from serving.route.registry import ROUTERS
from tests.lab.test_same_record import conversations, engine, profile, workload
from workloads.workload import Workload

POSSIBLE = sorted(ROUTERS)


def fleet(rng: random.Random, costs: Profile, load: Workload) -> tuple[FleetSpec, list[Member]]:
    count = rng.randint(1, 4)
    last = max(r.arrival_time for r in load.requests) / 1e9 + 0.2
    raw: dict[str, Any] = {
        "router": rng.choice(POSSIBLE),
        "retries": rng.choice([0, 1, 5]),
        "metrics_every_s": rng.choice([0, 0, 0.01]),
        "replicas": [{"count": count, "price_per_hour": 2.0}],
    }
    if raw["metrics_every_s"]:
        raw["metrics_delay_s"] = rng.choice([0, 0.003, 0.05])
    if rng.random() < 0.4:
        decodes = rng.randint(1, 3)
        raw["replicas"] = [{"count": count, "role": "prefill"}, {"count": decodes, "role": "decode"}]
        raw["link"] = {"gb_per_s": rng.choice([1e-6, 1.0]), "latency_s": 0.0001, "channels": rng.randint(1, 2)}
        count += decodes
    elif rng.random() < 0.4:
        raw["autoscale"] = {
            "scaler": rng.choice(["queue-depth(target=2, hold_s=0.01)", "rate(requests_per_s=50, hold_s=0.02)"]),
            "every_s": 0.01,
            "start_up_s": rng.choice([0, 0.02]),
        }
    if rng.random() < 0.5:
        raw["failures"] = [
            {
                "replica": rng.randrange(count),
                "at_s": (at := rng.uniform(0, last)),
                "back_at_s": at + rng.choice([0, 0.03]),
            }
            for _ in range(rng.randint(1, 3))
        ]
    if rng.random() < 0.3:
        raw["slowdowns"] = [{"replica": rng.randrange(count), "at_s": rng.uniform(0, last), "factor": 3.0}]
    spec = FleetSpec.model_validate(raw)
    return spec, list(members(spec, Path(), costs, engine(rng, load)))


def both(folder: Path, seed: int) -> str:
    """Simulate by both paths. Returns what came of it."""
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if seed % 2:
        load = conversations(rng, load)
    spec, replicas = fleet(rng, costs, load)
    cap, noise = rng.choice([None, None, 3]), rng.choice([None, seed])
    told = []
    for name, plain in (("plain", True), ("fast", False)):
        try:
            simulate_fleet(
                folder / name,
                load,
                spec,
                replicas,
                "oracle",
                force=True,
                max_in_flight=cap,
                noise_seed=noise,
                plain=plain,
            )
            told.append("")
        except ServetwinError as error:
            told.append(f"{type(error).__name__}: {error}")
    assert told[0] == told[1], f"seed {seed}"
    if not told[0]:
        for name in (*FILES, "manifest.json"):
            same = (folder / "plain" / name).read_bytes() == (folder / "fast" / name).read_bytes()
            assert same, f"{name}, seed {seed}: {spec}"
        replayed = replay(read_run(folder / "fast"), lambda e: scheduler_of(e, ProfileCost(costs)))
        assert replayed.equal, f"seed {seed}: {replayed.first_difference}"
    return told[0]


@pytest.mark.parametrize("first", range(0, 75, 25))
def test_the_same_bytes_for_random_fleets(tmp_path: Path, first: int) -> None:
    told = [both(tmp_path, seed) for seed in range(first, first + 25)]
    assert told.count("") > 15, told

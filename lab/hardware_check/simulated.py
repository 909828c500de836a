"""The simulation of a run on hardware: the same requests and engine, at the speed that the machine had meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lab.as_measured import as_measured
from lab.hardware_check.contest import Chance
from lab.runs import simulate_run, sized
from lab.scenario.scenario import Scenario
from lab.summary import read_summary
from records.manifest import Manifest
from records.profile import Profile
from records.run import RunRecord
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload


@dataclass(frozen=True)
class SeenRecord:
    """A run record as figures.py looks at it."""

    record: RunRecord

    @property
    def requests(self) -> pd.DataFrame:
        return self.record.requests

    @property
    def summary(self) -> Mapping[str, Any]:
        return read_summary(self.record)


def spec_of(scenario: Scenario, profile: Profile) -> EngineSpec:
    """The engine of both worlds: what the cell says, and the profile's pool and settings where it says nothing."""
    return sized(
        as_measured(scenario.engine(), profile.engine), profile.kv.num_blocks, profile.kv.block_size, profile.model
    )


def simulate(
    folder: Path, workload: Workload, scenario: Scenario, profile: Profile, chance: Chance, speed_of: Manifest | None
) -> SeenRecord:
    """As the sweep did, but for the speed. speed_of: a run on hardware; None: the profile's own speed."""
    record = simulate_run(
        folder,
        workload,
        profile,
        spec_of(scenario, profile),
        scenario.predictor,
        force=True,
        speed_of=[] if speed_of is None else [speed_of],
        max_in_flight=scenario.max_in_flight,
        noise_seed=chance.noise_seed,
        draw=scenario.draw,
        price_per_hour=scenario.price_per_hour,
    )
    return SeenRecord(record)

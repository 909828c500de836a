"""A recorded run that can be simulated again, as it was and with changes."""

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from lab.counterfactual.changes import Change
from lab.counterfactual.outcome import PARTS, Outcome, requests_frame
from lab.counterfactual.recorded import chance_of, setup_of
from lab.counterfactual.setup import Chance, Setup
from lab.counterfactual.simulate import simulate
from lab.counterfactual.steer import Steering
from records.profile import Profile
from records.run import RunRecord
from serving.errors import RecordError
from workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("ttft", *PARTS, "e2e")


class Fidelity(NamedTuple):
    """How far the simulation of a run is from its record.

    requests: how many finished in both. differences: simulated - recorded, in seconds: a row a request of these, a
    column each of COMPARED. changed: requests that ended otherwise than recorded.
    """

    requests: int
    differences: "pd.DataFrame"
    changed: int

    @property
    def is_exact(self) -> bool:
        return not self.changed and not np.any(self.differences.to_numpy() != 0)

    def told(self) -> str:
        """In a line, for a person: milliseconds."""
        if self.is_exact:
            return f"simulated again as recorded: every part of all {self.requests} requests equal, bit for bit"
        means = self.differences.mean() * 1e3
        absolute = self.differences.abs().median() * 1e3
        others = f"; {self.changed} requests ended otherwise" if self.changed else ""
        return (
            f"the simulation of this run, from its record: TTFT {means['ttft']:+.1f} ms in the mean (median of |error| "
            f"{absolute['ttft']:.1f} ms), E2E {means['e2e']:+.1f} ms ({absolute['e2e']:.1f} ms), over {self.requests} "
            f"requests{others}"
        )


class Again:
    """setup: what the run was, and chance: what it drew."""

    def __init__(self, record: RunRecord, setup: Setup) -> None:
        self.record = record
        self.setup = setup
        self.chance = chance_of(record.manifest)

    @classmethod
    def of(cls, record: RunRecord, profile: Profile | None = None, workload: Workload | None = None) -> Self:
        """profile: None: the shipped one of the name in the manifest. workload: None: as the run's own requests tell.

        Errors: ConfigError, RecordError for a run that cannot be simulated again, naming what has to be given for it.
        """
        return cls(record, setup_of(record, profile, workload))

    @cached_property
    def baseline(self) -> Outcome:
        """The run itself as the simulation has it.

        Errors: RecordError for a simulated run that does not come out as recorded, bit for bit.
        """
        found = simulate(self.setup, self.chance)
        if self.record.manifest.world == "simulated":
            recorded = requests_frame(self.record.requests)
            if not found.requests.equals(recorded):
                raise RecordError(f"{self.record.folder}: {_first_difference(recorded, found.requests)}")
        return found

    @cached_property
    def fidelity(self) -> Fidelity:
        """Of the baseline, to the record: of a real run, whatever it is; of a simulated one, exact."""
        recorded, found = requests_frame(self.record.requests), self.baseline.requests
        both = recorded.index[(recorded["status"] == "finished") & (found["status"] == "finished")]
        columns = list(COMPARED)
        differences = found.loc[both, columns] - recorded.loc[both, columns]
        return Fidelity(len(both), differences, int((recorded["status"] != found["status"]).sum()))

    def changed(self, *changes: Change) -> Setup:
        """The setup with the changes, one after the other. Errors: ConfigError, WorkloadError."""
        setup = self.setup
        for change in changes:
            setup = change.apply(setup)
        return setup

    def run(self, *changes: Change, chance: Chance | None = None, steering: Steering | None = None) -> Outcome:
        """The run with these changes: the same requests, and the same noise of step n. chance: another one instead.

        Errors: as of changed(), and of a simulation.
        """
        setup = self.changed(*changes)
        chance = self.chance if chance is None else chance
        if setup == self.setup and chance == self.chance and steering is None:
            return self.baseline
        return simulate(setup, chance, steering=steering)


def _first_difference(recorded: "pd.DataFrame", found: "pd.DataFrame") -> str:
    words = "does not come out again as recorded"
    if list(recorded.index) != list(found.index):
        return f"{words}: other requests"
    for name in recorded.columns:
        before, after = recorded[name], found[name]
        differs = ~((before == after) | (before.isna() & after.isna()))
        if differs.any():
            request = str(differs.idxmax())
            return (
                f"{words}: request {request} has {name} {after[request]}, recorded {before[request]}; was it made by "
                f"another version?"
            )
    return words

"""One simulation with some parts taken from a measured run; and the two runs that it stands between."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from calibration.finished import METRICS, Finished, seconds_of
from calibration.substitution.arrivals import LateSender, delays
from calibration.substitution.cost import SubstitutedCost, TellingScheduler
from calibration.substitution.engines import measured_engine, mixed, pool_differences, rule_differences
from calibration.substitution.factors import Coalition, Factor
from calibration.substitution.measured import MeasuredSteps
from calibration.substitution.sequence import RecordedSequence
from calibration.substitution.workload import Sent, predicted_lengths
from records.drift import drift_in
from records.manifest import EngineIdentity
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.replay import replay
from records.run import RunRecord
from serving.metrics.timeline import Timeline
from serving.schedule.contract import SchedulerLike
from sim.noise import StepNoise
from sim.simulate import stream
from workloads.workload import Workload

Build = Callable[[EngineIdentity], SchedulerLike]


class Resimulated(NamedTuple):
    """requests: METRICS of each that finished, in seconds; index: its id. same_batches: share of the steps that held a
    batch of the measured run.
    """

    requests: pd.DataFrame
    same_batches: float


class Resimulation:
    """profile: of the simulation, at the speed it was simulated with. build: makes the engine that a manifest
    describes. workload: where the records do not tell enough (workload.py). repeat_batches: the measured sequence of
    batches in place of the measured run's rules; None: where its rules do not lead to it.

    differs_in_rules: why, if the log of the measured run does not replay to its plans; None: it does.
    factors: those that can make a difference. Errors: RecordError; whatever build raises.
    """

    def __init__(
        self,
        simulated: RunRecord,
        measured: RunRecord,
        profile: Profile,
        build: Build,
        workload: Workload | None = None,
        repeat_batches: bool | None = None,
    ) -> None:
        self.simulated, self.measured = simulated, measured
        self.predicted = ProfileCost(profile)
        self.steps = MeasuredSteps(measured, self.predicted)
        self.late = delays(measured)
        self.engine = measured_engine(measured)
        self.pool = pool_differences(simulated.manifest.engine, self.engine)
        self.rules = rule_differences(simulated.manifest.engine, self.engine)
        self.differs_in_rules = replay(measured, build, self.engine).first_difference
        self.repeats_batches = self.differs_in_rules is not None if repeat_batches is None else repeat_batches
        self._build = build
        self._sent = Sent(simulated, measured, workload)
        self._told = {f: predicted_lengths(measured if f else simulated) for f in (False, True)}
        seed = simulated.manifest.seed
        self._noise = None if seed is None else (profile, seed)
        self._drift = drift_in(simulated.manifest.conditions)

    @property
    def factors(self) -> tuple[Factor, ...]:
        idle = {Factor.STATE} if not self.pool else set()
        if not self.rules and not self.repeats_batches:
            idle.add(Factor.BATCH)
        return tuple(factor for factor in Factor if factor not in idle)

    def run(self, taken: Coalition) -> Resimulated:
        """Without any factor: the simulation itself."""
        cost = SubstitutedCost(self.predicted, self.steps, taken)
        sender = self._sent.sender(self._told[Factor.BATCH in taken])
        finished = Finished()
        stream(
            LateSender(sender, self.late if Factor.ARRIVAL in taken else {}),
            self._sent.truth,
            TellingScheduler(self._scheduler(taken), cost),
            cost,
            finished.tell,
            sent=finished.sent,
            noise=self._step_noise(taken),
            drift=() if Factor.STEP in taken else self._drift,
        )
        return Resimulated(_frame(finished.timelines), cost.num_same / cost.num_steps if cost.num_steps else 0.0)

    def _scheduler(self, taken: Coalition) -> SchedulerLike:
        if Factor.BATCH in taken and self.repeats_batches:
            return RecordedSequence(self.measured)
        return self._build(mixed(self.simulated.manifest.engine, self.engine, taken))

    def _step_noise(self, taken: Coalition) -> StepNoise | None:
        if self._noise is None or Factor.STEP in taken:
            return None
        profile, seed = self._noise
        return StepNoise.of(profile, seed, "step noise 0 0")


def recorded(record: RunRecord) -> pd.DataFrame:
    """As Resimulated.requests, of a run record."""
    frame = record.requests[record.requests["status"] == "finished"].set_index("request_id")
    return frame[[f"{metric}_s" for metric in METRICS]].rename(columns=lambda name: name.removesuffix("_s"))


def _frame(finished: Mapping[str, Timeline]) -> pd.DataFrame:
    rows = {request_id: seconds_of(timeline) for request_id, timeline in finished.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(METRICS), dtype=float)

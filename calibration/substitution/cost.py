"""A cost model that takes some durations from a measured run, and the others from the profile.

A cost model is asked about features alone; which step it is, it hears from the scheduler beside it.
"""

from collections.abc import Sequence

from calibration.substitution.factors import Coalition, Factor
from calibration.substitution.measured import MeasuredSteps, StepTimes
from serving.cost import CostModel, StepFeatures, features
from serving.schedule.around import SchedulerAround
from serving.schedule.contract import Idle, Outcome, Plan, SchedulerLike


class SubstitutedCost:
    """num_same, num_steps: how many steps held a measured batch, of how many. drains: no step is scheduled before the
    one in flight is complete.
    """

    def __init__(self, predicted: CostModel, measured: MeasuredSteps, taken: Coalition) -> None:
        self.num_same = self.num_steps = 0
        self.drains = False
        self._predicted = predicted
        self._measured = measured
        self._step, self._host, self._return = (f in taken for f in (Factor.STEP, Factor.HOST, Factor.RETURN))
        self._arrival = Factor.ARRIVAL in taken
        self._in_flight: dict[int, StepTimes] = {}
        self._now: StepTimes | None = None

    def planned(self, plan: Plan) -> None:
        """The next questions are about the begin of this step."""
        self._now = self._measured.same(plan)
        self.num_steps += 1
        self.num_same += self._now is not None
        if self._now is None:
            self._now = self._measured.like(features(plan), plan.step_id, len(plan.copies))
        self._in_flight[plan.step_id] = self._now

    def ending(self, step_id: int) -> None:
        """The next questions are about the end of this step."""
        self._now = self._in_flight.pop(step_id)
        self.drains = self._host and self._now.drains and bool(self._in_flight)

    def schedule_time(self, step: StepFeatures) -> int:
        return self._times.schedule if self._host else self._predicted.schedule_time(step)

    def execute_time(self, step: StepFeatures) -> int:
        return self._times.execute if self._step else self._predicted.execute_time(step)

    def copy_time(self, num_blocks: int) -> int:
        return 0 if self._step else self._predicted.copy_time(num_blocks)  # a measured step holds its copies

    def return_time(self, step: StepFeatures) -> int:
        return self._times.return_ if self._return else self._predicted.return_time(step)

    def complete_time(self, step: StepFeatures) -> int:
        return self._times.complete if self._host else self._predicted.complete_time(step)

    def arrive_time(self) -> int:
        return 0 if self._arrival else self._predicted.arrive_time()  # measured delays hold both (arrivals.py)

    def wake_time(self) -> int:
        return 0 if self._arrival else self._predicted.wake_time()

    @property
    def _times(self) -> StepTimes:
        assert self._now is not None
        return self._now


class TellingScheduler(SchedulerAround):
    """The scheduler inside; the cost model hears of its steps."""

    def __init__(self, scheduler: SchedulerLike, cost: SubstitutedCost) -> None:
        super().__init__(scheduler)
        self._cost = cost

    def schedule(self, now: int) -> Plan | Idle:
        if self._cost.drains:
            return Idle()
        plan = super().schedule(now)
        if isinstance(plan, Plan):
            self._cost.planned(plan)
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        self._cost.ending(step_id)
        return super().complete(step_id, tokens, now, ended)

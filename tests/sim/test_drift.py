"""A machine that becomes slower: steps take as long as it was fast when they were launched."""

import pytest

from records.drift import AS_USUAL, Moment, Pace
from serving.schedule.contract import QuietSteps, StepReceipt
from serving.schedule.engine import build_scheduler
from sim.client_clock import Given
from sim.scripted import ScriptedCost
from sim.simulate import stream
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize

LOAD = Workload("one", (WorkloadRequest("a", 0, 1, 6, 6),))


def ends(slow: list[tuple[int, float]], plain: bool) -> list[int]:
    """When each step of one request ended; a step takes 100 where the machine is as fast as usual."""
    return ends_of([Moment(at, Pace.evenly(factor)) for at, factor in slow], plain)


def ends_of(drift: list[Moment], plain: bool) -> list[int]:
    told: list[int] = []

    def tell(receipt: StepReceipt) -> None:
        told.append(receipt.host_at)

    def tell_quiet(steps: QuietSteps) -> None:
        told.extend(steps.host_ats)

    truth = Truth(LOAD)
    scheduler = build_scheduler("vllm", tokens_of=None if plain else truth.placeholders)
    given = Given(materialize(LOAD))
    cost = ScriptedCost(execute=100)
    stream(given, truth, scheduler, cost, tell, plain=plain, tell_quiet=None if plain else tell_quiet, drift=drift)
    return told


@pytest.mark.parametrize("plain", [True, False])
def test_steps_take_as_long_as_the_machine_is_slow_when_they_are_launched(plain: bool) -> None:
    assert ends([], plain) == [100, 200, 300, 400, 500, 600]
    assert ends([(0, 2.0)], plain) == [200, 400, 600, 800, 1000, 1200]
    assert ends([(0, 1.0), (150, 2.0), (450, 0.5)], plain) == [100, 200, 400, 600, 650, 700]


@pytest.mark.parametrize("plain", [True, False])
def test_at_one_instant_the_machine_changes_before_a_step_is_launched(plain: bool) -> None:
    assert ends([(200, 3.0), (500, 1.0)], plain) == [100, 200, 500, 600, 700, 800]


@pytest.mark.parametrize("plain", [True, False])
def test_an_engine_that_pauses_ends_the_step_under_way_first(plain: bool) -> None:
    assert ends_of([Moment(150, AS_USUAL, 30)], plain) == [100, 200, 330, 430, 530, 630]
    assert ends_of([Moment(150, AS_USUAL, 30), Moment(199, AS_USUAL, 5)], plain) == [100, 200, 335, 435, 535, 635]
    assert ends_of([Moment(200, AS_USUAL, 30)], plain) == [100, 200, 330, 430, 530, 630], "before the next one begins"
    assert ends_of([Moment(150, Pace.evenly(2.0), 30)], plain) == [100, 200, 430, 630, 830, 1030]
    assert ends_of([Moment(0, AS_USUAL, 30)], plain) == [100, 230, 330, 430, 530, 630], "none is under way yet"


@pytest.mark.parametrize("plain", [True, False])
def test_what_comes_after_the_last_request_changes_nothing(plain: bool) -> None:
    assert ends([(0, 1.0), (10_000, 9.0)], plain) == [100, 200, 300, 400, 500, 600]


@pytest.mark.parametrize("plain", [True, False])
def test_what_a_step_takes_beyond_a_time_has_a_pace_of_its_own(plain: bool) -> None:
    """A token takes 10: the prompt's step 300, of which 40 are fixed, then steps of one token."""
    told: list[int] = []
    load = Workload("prompt", (WorkloadRequest("a", 0, 30, 6, 6),))
    truth = Truth(load)
    scheduler = build_scheduler("vllm", tokens_of=None if plain else truth.placeholders)
    stream(
        Given(materialize(load)),
        truth,
        scheduler,
        ScriptedCost(execute=lambda step: 10 * step.num_tokens),
        lambda receipt: told.append(receipt.host_at),
        plain=plain,
        tell_quiet=None if plain else lambda steps: told.extend(steps.host_ats),
        drift=[Moment(0, Pace(2.0, 5.0, 40))],
    )
    assert told == [1380, 1400, 1420, 1440, 1460, 1480]

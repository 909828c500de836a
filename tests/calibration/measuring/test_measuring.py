"""Measuring: the batches, which of them are worth their time, and an engine that executes exactly what was planned."""

from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.measuring.batches import CONTINUED, BatchShape, drawn, fits, grid, plan_of
from calibration.measuring.experiment import mean_variance, picks
from calibration.measuring.others import LARGEST_SHARE, WINDOW_S, Others
from calibration.measuring.planned import PlannedScheduler
from serving.cost import features
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Idle, Plan

CONFIG = EngineConfig(num_blocks=2048)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_every_batch_can_run_and_all_kinds_are_there(seed: int) -> None:
    shapes = [*grid(CONFIG, seed), *drawn(CONFIG, seed, 30)]
    assert all(fits(shape, CONFIG) for shape in shapes)
    assert {shape.kind for shape in shapes} == {"decode", "prefill", "mixed"}
    assert any(stored for shape in shapes for stored, _ in shape.prefills), "prompts behind a cached prefix"
    for number, shape in enumerate(shapes):
        plan = plan_of(shape, number, CONFIG.block_size, ())
        blocks = [block for _, table in plan.new_blocks for block in table]
        assert len(set(blocks)) == len(blocks) <= CONFIG.num_blocks
        step = features(plan)
        assert step.num_seqs == len(shape.sequences)
        assert step.num_tokens == sum(n for _, n in shape.sequences)


def run(scheduler: PlannedScheduler, most: int = 10_000) -> list[Plan]:
    """All its plans, a step a microsecond."""
    plans = []
    for now in range(most):
        plan = scheduler.schedule(now)
        if isinstance(plan, Idle):
            assert plan.wake_at is None
            return plans
        plans.append(plan)
        assert scheduler.complete(plan.step_id, [(3,)] * len(plan.request_ids), now).finished == ()
    raise AssertionError("it never ends")


def test_batches_come_in_the_given_order_and_decodes_are_continued() -> None:
    shapes = [BatchShape(decodes=(10, 20)), BatchShape(prefills=((0, 5),))]
    scheduler = PlannedScheduler(shapes, iter([1, 0, 1]), 16, lambda now, begun: True)
    plans = run(scheduler)
    assert [plan.step_id for plan in plans] == list(range(len(plans)))
    asked = [(a.shape, a.follows) for a in scheduler.asked.values()]
    assert asked == [(1, 0), *((0, k) for k in range(1 + CONTINUED)), (1, 0)]
    assert [plan.starts for plan in plans[1 : 2 + CONTINUED]] == [(10 + k, 20 + k) for k in range(1 + CONTINUED)]
    placed: set[str] = set()
    for plan in plans:  # a runner is told of everybody who comes and goes
        placed -= set(plan.released)
        placed |= {a.request_id for a in plan.admitted}
        assert placed == set(plan.request_ids)


def test_it_ends_when_told_and_repeats_what_was_disturbed() -> None:
    shapes = [BatchShape(prefills=((0, n),)) for n in (4, 5, 6)]
    scheduler = PlannedScheduler(shapes, cycle([0, 1]), 16, lambda now, begun: begun < 4)
    assert isinstance(scheduler.schedule(-5), Idle), "the clock begins at 0"
    scheduler.again([2])
    run(scheduler)
    assert [a.shape for a in scheduler.asked.values()] == [2, 0, 1, 0]


def test_the_experiment_asks_for_what_the_region_needs() -> None:
    """Two terms; the region needs the second alone, which only the last candidate tells about."""
    candidates = np.array([[1.0, 0.0], [1.0, 0.0], [0.1, 1.0]])
    region, measured = np.array([[0.0, 1.0]] * 5), np.array([[1.0, 0.1]])
    assert set(picks(candidates, np.ones(3), region, measured, 6.0)) == {2}


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_an_experiment_keeps_its_budget_and_beats_a_random_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = rng.random((40, 5)) ** 3
    region, measured, seconds = rng.random((60, 5)) ** 3, rng.random((6, 5)), 0.1 + rng.random(40)
    chosen = picks(candidates, seconds, region, measured, 20.0)
    assert 20.0 - seconds.max() <= seconds[chosen].sum() <= 20.0
    others = []
    while sum(seconds[others]) < 20.0:
        others.append(int(rng.integers(40)))
    mine = mean_variance(region, np.concatenate([measured, candidates[chosen]]))
    assert mine <= mean_variance(region, np.concatenate([measured, candidates[others]]))
    assert mine <= mean_variance(region, measured)


def test_what_others_take_is_told_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now, busy, own, told = [0.0], [0.0], [0.0], []
    monkeypatch.setattr(Others, "_machine", lambda self: busy[0])
    monkeypatch.setattr(Others, "_ours", lambda self: own[0])
    others = Others(lambda: now[0], lambda begin, end: told.append((begin, end)))
    for window in range(6):  # two processors of ours are no disturbance; half a processor of somebody else is one
        elsewhere = 0.5 if window in (2, 3) else 0.5 * LARGEST_SHARE
        now[0] += WINDOW_S
        own[0] += 2 * WINDOW_S
        busy[0] += (2 + elsewhere) * WINDOW_S
        others.look()
    assert told == [(2 * WINDOW_S, 3 * WINDOW_S), (3 * WINDOW_S, 4 * WINDOW_S)]
    assert [others.disturbed_at((k + 0.5) * WINDOW_S) for k in range(7)] == [
        False,
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert others.share_at(2.5 * WINDOW_S) == pytest.approx(0.5)

"""One decision is forced, in its step alone: all before is as it was; what was decided anyway changes nothing."""

from pathlib import Path

import pytest

from lab.counterfactual.again import Again
from lab.counterfactual.steer import Steering, Take
from tests.lab.counterfactual.runs import again, asked, run_by_hand


def ms(run: Again, steering: Steering, name: str) -> dict[str, float]:
    found = run.run(steering=steering).requests[name]
    return {str(request_id): round(float(value) * 1e3, 6) for request_id, value in found.items()}


def three(folder: Path, **settings: object) -> Again:
    """One seat. Step 0 is a's; b, c and d wait for step 1. Each takes 1 + 10 + 4 ms."""
    requests = [asked(name, at, 4, 1) for name, at in (("a", 0), ("b", 1), ("c", 2), ("d", 3))]
    return run_by_hand(folder, *requests, **{"max_num_seqs": 1, **settings})


@pytest.mark.parametrize(
    ("steering", "queue"),
    [
        (Steering("d", "first", 1), {"a": 0, "b": 29, "c": 43, "d": 12}),
        (Steering("b", "last", 1), {"a": 0, "b": 29, "c": 13, "d": 42}),
        (Steering("b", "wait", 1), {"a": 0, "b": 29, "c": 13, "d": 42}),
        (Steering("d", "first", 2), {"a": 0, "b": 14, "c": 43, "d": 27}),
        (Steering("b", "first", 1), {"a": 0, "b": 14, "c": 28, "d": 42}),
    ],
)
def test_order_by_hand(tmp_path: Path, steering: Steering, queue: dict[str, float]) -> None:
    run = three(tmp_path)
    assert ms(run, steering, "queue") == queue
    is_as_decided = run.run(steering=Steering(steering.request_id, steering.take, steering.step)).is_same(run.baseline)
    assert is_as_decided == (steering.num_used == 0)


def test_a_request_that_is_turned_away(tmp_path: Path) -> None:
    run = three(tmp_path)
    found = run.run(steering=Steering("b", "reject")).requests
    assert found["status"].to_dict() == {"a": "finished", "b": "rejected", "c": "finished", "d": "finished"}
    assert round(found["queue"]["c"] * 1e3, 6) == 13


def test_who_is_preempted_by_hand(tmp_path: Path) -> None:
    """Three outputs begin in a pool of four blocks, and each prompt fills a block to its end:
    in the second step a takes the one that is free, b finds none, and c, the last, gives way.
    """
    requests = [asked(name, 0, 4, 3) for name in ("a", "b", "c")]
    run = run_by_hand(tmp_path, *requests, num_blocks=4, enable_prefix_caching=False)
    assert run.baseline.requests["num_preemptions"].to_dict() == {"a": 0, "b": 0, "c": 1}
    for victim, gave_way in (("", "b"), ("b", "b"), ("a", "a")):
        steering = Steering("c", "keep", 1, victim)
        first = run.run(steering=steering)
        assert steering.num_used == 1
        assert first.requests["num_preemptions"][gave_way] == 1
    steering = Steering("c", "keep", 1, "nobody")
    assert run.run(steering=steering).is_same(run.baseline)
    assert not steering.num_used


TAKES: tuple[Take, ...] = ("first", "last", "wait", "keep")


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_random_engines_go_on_and_remember_what_came_before(tmp_path: Path, seed: int) -> None:
    run = again(tmp_path, seed)
    if run is None:
        return
    before = run.baseline
    ids, steps = list(before.requests.index), before.steps
    for k, take in enumerate(TAKES):
        request_id, place = ids[(seed + k) % len(ids)], (7 * seed + 3 * k) % len(steps)
        step = int(steps["step_id"].iloc[place])
        steering = Steering(request_id, take, step)
        found = run.run(steering=steering)
        assert found.steps.iloc[:place].equals(steps.iloc[:place]), (seed, take)
        assert (found.requests["status"] == before.requests["status"]).all(), (seed, take)
        if not steering.num_used:
            assert found.is_same(before), (seed, take)

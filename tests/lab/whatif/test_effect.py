"""What a change does to each request, to kinds of them and to the run: sums are exact, nobody is counted twice."""

from pathlib import Path

import numpy as np
import pytest

from lab.counterfactual.again import Again
from lab.counterfactual.knobs import read_knob
from lab.counterfactual.outcome import PARTS, TTFT_PARTS
from lab.whatif.decisions import History
from lab.whatif.effect import Effect
from lab.whatif.repeats import Repeats, chances, repeat
from lab.whatif.whatif import with_changes, with_decision
from serving.errors import ConfigError
from tests.lab.counterfactual.runs import again, asked, by_hand, run_by_hand
from tests.lab.test_same_record import NOISE


def ignored(done: float) -> None:
    pass


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_sums_are_exact_and_groups_are_a_partition(tmp_path: Path, seed: int) -> None:
    run = again(tmp_path, seed)
    if run is None:
        return
    effect = Effect(run.baseline, run.run(read_knob("decode=x0.7"), read_knob("schedule=x3")))
    ns = (effect.requests[["ttft", *PARTS, "e2e"]] * 1e9).round().astype(np.int64)
    assert (ns[list(TTFT_PARTS)].sum(axis=1) == ns["ttft"]).all()
    assert (ns["ttft"] + ns["decode"] + ns["stream"] == ns["e2e"]).all()
    for by in {group.by for group in effect.groups}:
        groups = [group for group in effect.groups if group.by == by]
        assert sorted(np.concatenate([group.members for group in groups]).tolist()) == list(range(len(effect.ids)))
        assert sum(group.gain for group in groups) == (effect.requests["ttft"] < 0).sum()
        assert sum(group.ttft * len(group.members) for group in groups) == pytest.approx(effect.requests["ttft"].sum())
    gains, losses = effect.most(3)
    assert gains["ttft"].is_monotonic_increasing
    assert losses["ttft"].is_monotonic_decreasing
    assert (gains["ttft"] < 0).all()
    assert (losses["ttft"] > 0).all()


def test_there_and_back_is_the_opposite(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3), asked("b", 4, 8, 3))
    after = run.run(read_knob("steps=x2"))
    there, back = Effect(run.baseline, after).requests, Effect(after, run.baseline).requests
    assert (there == -back).all(axis=None)


def test_who_ends_otherwise_is_told_and_left_out(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3), asked("b", 1, 8, 3), asked("c", 2, 8, 3))
    effect = Effect(run.baseline, run.run(read_knob("admission=queue-cap(max_waiting=1)")))
    assert effect.ended_otherwise
    assert set(effect.ended_otherwise.values()) == {("finished", "rejected")}
    assert not set(effect.ended_otherwise) & set(effect.ids)


def noisy(folder: Path, **more: object) -> Again:
    costs = by_hand(residual={"mixed": NOISE.model_dump()}, **more)
    return run_by_hand(folder, *[asked(f"r{i}", 9 * i, 6, 4) for i in range(12)], profile=costs, max_num_seqs=2)


def repeated(run: Again, knob: str, count: int | None = None) -> Repeats:
    change = read_knob(knob)
    chosen = chances(run, [run.setup.profile], count)
    assert chosen is not None
    return repeat(run, [change], chosen, ignored)


def test_pairs_meet_the_same_chance(tmp_path: Path) -> None:
    """A way back to the client that is 2 ms longer makes every first token of every pair exactly 2 ms later."""
    repeats = repeated(noisy(tmp_path), "return=x2", 4)
    assert len(repeats.effects) == 4
    assert len({effect.before.requests["ttft"].mean() for effect in repeats.effects}) == 4
    interval = repeats.measure("ttft", "mean")
    assert interval is not None
    assert interval.mean == pytest.approx(0.002)
    assert interval.half_width == pytest.approx(0, abs=1e-12)
    assert repeats.surely() == {"sooner": 0, "later": 12, "unchanged": 0, "unknown": 0}


def test_an_interval_of_draws_is_of_one_more_run(tmp_path: Path) -> None:
    draws = tuple((10.0 + i, 1.0, 1.0, 2.0) for i in range(3))
    drawn = repeated(noisy(tmp_path, draws=draws), "steps=x2")
    assert [chance.draw for chance in drawn.chances.of] == [0, 1, 2, 3, 4]
    assert "of one more run" in drawn.chances.told()
    assert "coefficients" in drawn.chances.told()
    interval = drawn.measure("ttft", "mean")
    assert interval is not None
    means = [effect.requests["ttft"].mean() for effect in drawn.effects]
    assert interval.low < min(means)
    assert max(means) < interval.high


def test_without_chance_there_are_no_pairs(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    assert chances(run, [run.setup.profile], None) is None
    with pytest.raises(ConfigError, match="all would be equal"):
        chances(run, [run.setup.profile], 3)
    with pytest.raises(ConfigError, match="at least 1"):
        chances(run, [run.setup.profile], 0)


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("num-blocks=64", "the run has it so"),
        ("num-blocks=x2", "changes nothing in this run"),
        ("policy=sjf(by='total')", "no request finishes any more; 1 were turned away"),
    ],
)
def test_a_change_without_effect_is_an_error(tmp_path: Path, knob: str, words: str) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    with pytest.raises(ConfigError, match=words):
        with_changes(run, [read_knob(knob)], None)


def test_a_decision_after_which_nobody_finishes_is_an_error(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    with pytest.raises(ConfigError, match="no request finishes any more"):
        with_decision(run, History(run).decision("a", "reject", None))


def test_who_gives_way_is_the_decision_about_one_who_was_preempted(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, *[asked(name, 0, 4, 3) for name in "abc"], num_blocks=4, enable_prefix_caching=False)
    history = History(run)
    kept = history.decision("c", None, None)
    assert (kept.steering.take, kept.steering.step) == ("keep", 1)
    assert with_decision(run, kept).effect.after.requests["num_preemptions"]["b"] == 1

"""Changes do what they say, no more: by hand where the answer is known, and as properties of random runs."""

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.shipped import find_profile
from lab.counterfactual.again import Again
from lab.counterfactual.changes import (
    DEFAULTS,
    DURATIONS,
    NO_RESERVATION,
    Change,
    EvenArrivals,
    Gpu,
    InFront,
    Lengths,
    Link,
    MaxInFlight,
    Part,
    PrefixCache,
    Rate,
    Setting,
    SettingTimes,
    Times,
    Unlimited,
)
from lab.counterfactual.durations import Durations, ScaledCost
from lab.counterfactual.knobs import KNOBS, read_knob
from lab.counterfactual.outcome import Outcome
from lab.counterfactual.requests import faster, resized
from lab.counterfactual.simulate import write
from lab.runs import simulate_run
from records.profile_cost import ProfileCost
from records.run import read_run
from serving.cost import StepFeatures
from serving.errors import ConfigError, InvariantError, ServetwinError
from serving.schedule.engine import EngineSpec
from serving.schedule.presets import PRESETS
from tests.lab.counterfactual.runs import again, asked, by_hand, run_by_hand, terms
from workloads.workload import Workload

WHOLE = [name for name, value in DEFAULTS.items() if isinstance(value, int) and not isinstance(value, bool)]
factors = st.floats(0.01, 100, allow_nan=False)
durations = st.sampled_from(sorted(DURATIONS))
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(Times, durations, factors),
    st.builds(SettingTimes, st.sampled_from(WHOLE), factors),
    st.builds(Setting, st.sampled_from(WHOLE), st.integers(0, 10**6)),
    st.builds(Setting, st.sampled_from([n for n, v in DEFAULTS.items() if isinstance(v, bool)]), st.booleans()),
    st.builds(Setting, st.just("watermark"), st.floats(0, 0.99)),
    st.builds(Setting, st.just("preemption"), st.sampled_from(["swap", "recompute"])),
    st.builds(Unlimited, st.sampled_from(["max_num_seqs", "num_blocks", "max_num_batched_tokens"])),
    st.builds(Part, st.just("policy"), st.sampled_from(["fcfs", 'sjf(by="total")'])),
    st.builds(Part, st.just("preset"), st.sampled_from(sorted(PRESETS))),
    st.builds(Part, st.sampled_from(["reservation", "admission", "eviction", "predictor"]), st.just("none")),
    st.builds(PrefixCache, st.sampled_from(["on", "off", "endless", "perfect"])),
    st.builds(Link, gb_per_s=factors),
    st.builds(Link, factor=factors),
    st.builds(Rate, factor=factors),
    st.builds(Rate, per_s=factors),
    st.builds(EvenArrivals),
    st.builds(Lengths, st.sampled_from(["prompt", "output"]), factors),
    st.builds(MaxInFlight, st.none() | st.integers(1, 99)),
    st.builds(InFront, st.text("abc-1=", min_size=1).filter(lambda s: s == s.strip())),
    st.builds(Gpu, st.just(find_profile(Path("rtx4090-llama-3.1-8b-vllm")))),
)


@given(changes)
def test_what_a_change_calls_itself_reads_back(change: Change) -> None:
    read = read_knob(change.name)
    assert read.name == change.name
    assert read_knob(read.name) == read
    assert read.told


def test_every_knob_can_be_read() -> None:
    values = {
        "policy": "sjf",
        "gpu": "rtx4090-llama-3.1-8b-vllm",
        "prefix-cache": "off",
        "arrivals": "even",
        "in-front": "a",
        "max-in-flight": "3",
    }
    for knob in KNOBS:
        default = DEFAULTS.get(knob.replace("-", "_"))
        value = values.get(knob, "on" if isinstance(default, bool) else "swap" if isinstance(default, str) else "x2")
        assert read_knob(f"{knob}={value}").name == f"{knob}={value}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("num-bloks=x2", "did you mean num-blocks"),
        ("num-blocks", "write KNOB=VALUE"),
        ("num-blocks=", "write KNOB=VALUE"),
        ("num-blocks=much", "no whole number"),
        ("decode=0.5", "write a factor, as x0.5"),
        ("decode=xfast", "no number"),
        ("prefix-cache=maybe", "on, off, endless or perfect"),
        ("arrivals=odd", "can be made even"),
        ("async-scheduling=x2", "is on or off"),
        ("watermark=unlimited", "can be unlimited"),
        ("gpu=rtx4091", "rtx4090"),
    ],
)
def test_what_cannot_be_read_says_how(text: str, words: str) -> None:
    with pytest.raises(ServetwinError, match=words):
        read_knob(text)


def ms(outcome: Outcome, request_id: str, *names: str) -> list[float]:
    return [round(float(outcome.requests[name][request_id]) * 1e3, 6) for name in names]


PARTS = ("queue", "schedule", "prefill", "return", "decode", "stream")


def test_each_duration_by_hand(tmp_path: Path) -> None:
    """Prompt 4, output 2: 1 + (10 + 4) + 2, then 1 + (10 + 1) + 2 ms. The client holds the first token when the second
    step has begun: 1 + 11 ms from token to token on the host, 2 of them on the way.
    """
    run = run_by_hand(tmp_path, asked("a", 0, 4, 2))

    def told(*knobs: str) -> list[float]:
        return ms(run.run(*map(read_knob, knobs)), "a", *PARTS)

    assert ms(run.baseline, "a", *PARTS) == [0, 1, 14, 2, 10, 2]
    assert told("prefill=x0.5") == [0, 1, 7, 2, 10, 2]
    assert told("decode=x0.5") == [0, 1, 14, 2, 4.5, 2]
    assert told("steps=x2") == [0, 1, 28, 2, 21, 2]
    assert told("schedule=0") == [0, 0, 14, 2, 9, 2]
    assert told("return=x3") == [0, 1, 14, 6, 6, 6]
    assert told("return=0") == [0, 1, 14, 0, 12, 0]
    assert told("steps=x0.5", "steps=x2") == [0, 1, 14, 2, 10, 2]
    assert told("output=x0.5") == [0, 1, 14, 2, 0, 0]
    assert told("prompt=x2") == [0, 1, 18, 2, 10, 2]


def test_a_mixed_step_by_hand(tmp_path: Path) -> None:
    """a decodes while b's prompt of 5 is computed: 10 + 6 ms, of which the decode alone would take 11."""
    run = run_by_hand(tmp_path, asked("a", 0, 4, 3), asked("b", 3, 5, 1))
    assert ms(run.baseline, "b", "prefill") == [16]
    assert ms(run.run(Times("decode", 0.5)), "b", "prefill") == [5.5 + 5]
    assert ms(run.run(Times("prefill", 0.5)), "b", "prefill") == [11 + 2.5]


def test_order_by_hand(tmp_path: Path) -> None:
    """One seat; while a is served, long and then short arrive. Each is 1 + 10 + prompt ms to its only token."""
    run = run_by_hand(tmp_path, asked("a", 0, 4, 1), asked("long", 1, 30, 1), asked("short", 2, 2, 1), max_num_seqs=1)
    assert ms(run.baseline, "long", "queue") == [14]
    assert ms(run.baseline, "short", "queue") == [15 + 41 - 2]
    for change in (Part("policy", "sjf"), InFront("short")):
        swapped = run.run(change)
        assert ms(swapped, "short", "queue") == [13]
        assert ms(swapped, "long", "queue") == [15 + 13 - 1]
    seats = run.run(Unlimited("max_num_seqs"))
    assert ms(seats, "long", "queue") == [14]
    assert ms(seats, "short", "queue") == [13]


def test_kv_by_hand(tmp_path: Path) -> None:
    """Two prompts of 8 need two blocks of 4 each, and a third for the output; the pool has 3 at first."""
    run = run_by_hand(tmp_path, asked("a", 0, 8, 2), asked("b", 0, 8, 2), num_blocks=3)
    assert run.baseline.requests["queue"]["b"] > 0
    more = run.run(SettingTimes("num_blocks", 2))
    assert ms(more, "b", "queue") == [0]
    assert more.steps["kv_total"].unique().tolist() == [24]
    bytes_kept = run.run(Setting("block_size", 2))
    assert bytes_kept.steps["kv_total"].unique().tolist() == [12]


def test_reservation_by_hand(tmp_path: Path) -> None:
    """Orca reserves prompt and the most output: 8 + 24 tokens are 8 of 9 blocks, so b waits for a to end."""
    a, b = asked("a", 0, 8, 24), asked("b", 0, 8, 24)
    run = run_by_hand(tmp_path, a, b, num_blocks=15, enable_prefix_caching=False)
    reserved = run.run(Part("reservation", "max-length"))
    assert ms(run.baseline, "b", "queue") == [0]
    assert reserved.requests["queue"]["b"] > reserved.requests["decode"]["a"]
    freed = run.run(Part("reservation", "max-length"), NO_RESERVATION)
    assert ms(freed, "b", "queue") == [0]


def test_a_perfect_prefix_cache_by_hand(tmp_path: Path) -> None:
    """Three of four blocks are those of a, whose end comes after b has arrived."""
    prefix = {"prefix": (("system", 12),)}
    run = run_by_hand(
        tmp_path, asked("a", 0, 16, 1, **prefix), asked("b", 0, 16, 1, **prefix), enable_prefix_caching=False
    )
    assert run.baseline.requests["num_cached"].tolist() == [0, 0]
    warm = run.run(PrefixCache("perfect"))
    assert warm.requests["num_cached"].tolist() == [0, 12]
    assert ms(warm, "b", "prefill") == [10 + 16 + 4]


def test_an_endless_prefix_cache_by_hand(tmp_path: Path) -> None:
    """a's four blocks, its answer's first token in the last one, are gone when c repeats them: b needed the pool."""
    again = {"prefix": (("system", 12),)}
    a, b, c = asked("a", 0, 14, 3, **again), asked("b", 1000, 24, 1), asked("c", 2000, 14, 1, **again)
    run = run_by_hand(tmp_path, a, b, c, num_blocks=6)
    assert run.baseline.requests["num_cached"].tolist() == [0, 0, 0]
    endless = run.run(PrefixCache("endless"))
    assert endless.requests["num_cached"].tolist() == [0, 0, 12]
    assert ms(endless, "b", "ttft") == ms(run.baseline, "b", "ttft")
    with pytest.raises(ConfigError, match="set prefix-cache=on first"):
        run.run(PrefixCache("off"), PrefixCache("endless"))


def test_an_answer_is_in_an_endless_cache_when_the_next_turn_repeats_it(tmp_path: Path) -> None:
    """Eight tokens of the prompt, and eight of nine of the answer: four blocks, which b has driven out."""
    first, other = asked("a", 0, 8, 9), asked("b", 500, 30, 1)
    second = asked("c", 1000, 30, 1, parent="a", think_time=1_000_000_000, turn=2)
    load = Workload("by-hand", (first, other, second))
    spec = EngineSpec("vllm", settings={"num_blocks": 9})
    run = Again.of(simulate_run(tmp_path / "run", load, by_hand(), spec), by_hand(), load)
    assert run.baseline.requests["num_cached"]["c"] < 16
    assert run.run(PrefixCache("endless")).requests["num_cached"]["c"] == 16


def test_another_profile_brings_the_same_share_of_its_pool(tmp_path: Path) -> None:
    twice = by_hand(
        name="twice", execute=terms(one=20, num_tokens=2), kv={"num_blocks": 64, "block_size": 8, "bytes_per_token": 1}
    )
    run = run_by_hand(tmp_path, asked("a", 0, 4, 1), num_blocks=32)
    found = run.run(Gpu(twice))
    assert ms(found, "a", "prefill") == [28]
    assert found.steps["kv_total"].unique().tolist() == [64 * 8 // 2]
    assert run.changed(Gpu(by_hand())) == run.setup


def test_a_preset_brings_its_own_rules(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 40, 3), asked("b", 0, 8, 3))
    for preset in PRESETS:
        found = run.run(Part("preset", preset))
        assert (found.requests["status"] == "finished").all()
        there_and_back = run.changed(Part("preset", preset), Part("preset", "vllm"))
        assert there_and_back.engine.preset == "vllm"


ONE: list[Callable[[], Change]] = [
    *[lambda name=name: Times(name, 1.0) for name in DURATIONS],  # type: ignore[misc]
    *[lambda name=name: SettingTimes(name, 1.0) for name in ("num_blocks", "max_num_seqs", "block_size")],  # type: ignore[misc]
    lambda: Rate(factor=1.0),
    lambda: Lengths("prompt", 1.0),
    lambda: Lengths("output", 1.0),
]


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_times_one_changes_nothing(tmp_path: Path, seed: int) -> None:
    run = again(tmp_path, seed)
    if run is None:
        return
    for make in ONE:
        assert run.run(make()).is_same(run.baseline), make().name


@given(st.integers(0, 5000), st.integers(1, 200), st.integers(1, 90), factors, factors)
def test_decodes_worked_out_at_once_take_what_each_takes(
    seed: int, num: int, count: int, decode: float, prefill: float
) -> None:
    costs = by_hand(execute=terms(one=7.3, num_tokens=0.31, decode_context=0.0017))
    cost = ScaledCost(costs, Durations(decode=decode, prefill=prefill, schedule=decode, return_=prefill))
    step = StepFeatures.of_decodes(num, seed + num)
    steps = [step._replace(decode_context=step.decode_context + i * num) for i in range(count)]
    durations = (cost.schedule_time, cost.execute_time, cost.return_time, cost.complete_time)
    for duration, over in zip(durations, cost.over_contexts, strict=True):
        told = list(over(step, count))
        assert (told * count if len(told) == 1 else told) == [duration(s) for s in steps]
    assert ScaledCost(costs, Durations()).execute_time(step) == ProfileCost(costs).execute_time(step)


together = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=8)


@given(
    together, st.sampled_from(sorted(set(DURATIONS) - {"wake"})), st.floats(0.05, 1), st.booleans(), st.integers(1, 4)
)
def test_less_time_makes_nobody_later_where_batches_do_not_depend_on_it(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    name: str,
    factor: float,
    two_in_flight: bool,
    seats: int,
) -> None:
    """All arrive at once, so no instant decides what a step holds: the batches are the same, and each ends no later.

    (Where requests arrive meanwhile this is no law: a faster step may end just before an arrival, which then waits for
    the whole next one. And with two steps in flight the next is prepared while one executes, all the same.)
    """
    requests = [asked(f"r{i}", 0, prompt, output) for i, (prompt, output) in enumerate(sizes)]
    run = run_by_hand(
        tmp_path_factory.mktemp("run"), *requests, async_scheduling=two_in_flight, max_num_seqs=seats, num_blocks=200
    )
    faster_one = run.run(read_knob(f"{name}=x{factor}"))
    assert (faster_one.steps["num_tokens"] == run.baseline.steps["num_tokens"]).all()
    for metric in ("ttft", "e2e"):
        assert (faster_one.requests[metric] <= run.baseline.requests[metric]).all()


gaps = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 6)), min_size=1, max_size=8)


@given(gaps, st.floats(1, 10))
def test_one_seat_keeps_nobody_shorter_at_a_higher_rate(
    tmp_path_factory: pytest.TempPathFactory, load: list[tuple[int, int, int]], factor: float
) -> None:
    """Lindley: with one server and given services, waits only grow as the times between arrivals shrink."""
    arrivals = accumulate(gap for gap, _, _ in load)
    requests = [
        asked(f"r{i}", at, prompt, output)
        for i, (at, (_, prompt, output)) in enumerate(zip(arrivals, load, strict=True))
    ]
    run = run_by_hand(
        tmp_path_factory.mktemp("run"), *requests, max_num_seqs=1, enable_prefix_caching=False, num_blocks=200
    )
    found = run.run(Rate(factor=factor))
    before, after = run.baseline.requests["queue"], found.requests["queue"]
    assert (after >= before - 1e-8).all()  # arrivals are rounded to the nanosecond
    assert found.steps["num_tokens"].sum() == run.baseline.steps["num_tokens"].sum()


def test_a_later_turn_repeats_what_was_said_at_its_new_length() -> None:
    first = asked("a", 0, 8, 3)
    second = asked("b", 0, 20, 4, turn=2, parent=("a",))
    load = resized(Workload("turns", (first, second)), prompt=2, output=3)
    sizes = {r.request_id: (r.prompt_len, r.output_len, r.max_tokens) for r in load.requests}
    assert sizes == {"a": (16, 9, 9), "b": (16 + 9 + 18, 12, 12)}


def test_deadlines_move_with_their_requests() -> None:
    load = faster(Workload("w", (asked("a", 100, 8, 3, deadline=150_000_000),)), 2)
    assert (load.requests[0].arrival_time, load.requests[0].deadline) == (50_000_000, 100_000_000)


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("num-blocks=x0", "factor above 0"),
        ("link=x2", "no host memory"),
        ("in-front=b", "did you mean a"),
        ("preset=vlm", "vllm"),
        ("steps=x0", "takes no time"),
        ("preemption=x2", "preemption"),
    ],
)
def test_a_change_that_this_run_cannot_take_says_why(tmp_path: Path, knob: str, words: str) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    with pytest.raises(ConfigError, match=words):
        run.run(read_knob(knob))


def test_settings_without_effect_under_the_preset_are_refused(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    with pytest.raises(ConfigError, match="watermark has no effect under preset nano-vllm"):
        run.run(Part("preset", "nano-vllm"), Setting("watermark", 0.1))


@pytest.mark.parametrize(
    "knobs", [("decode=x0.5", "return=0"), ("prefix-cache=perfect", "rate=x2"), ("in-front=b", "output=x2")]
)
def test_a_changed_run_is_written_and_simulates_again(tmp_path: Path, knobs: tuple[str, ...]) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3), asked("b", 1, 8, 3), max_num_seqs=1)
    every = [read_knob(knob) for knob in knobs]
    write(tmp_path / "changed", run.changed(*every), run.chance)
    written = Again.of(read_run(tmp_path / "changed"), by_hand())
    assert written.fidelity.is_exact
    assert written.baseline.is_same(run.run(*every))
    assert any("no engine was measured" in told for told in written.record.manifest.unvalidated)


ANY = (
    *(
        "decode=x0.3",
        "prefill=x3",
        "schedule=0",
        "return=x5",
        "wake=x2",
        "complete=x2",
        "num-blocks=x2",
        "num-blocks=x0.8",
    ),
    *("num-blocks=unlimited", "max-num-seqs=unlimited", "max-num-seqs=x0.5", "max-num-batched-tokens=unlimited"),
    *("max-num-batched-tokens=x0.5", "block-size=x2", "prefix-cache=off", "prefix-cache=on", "prefix-cache=perfect"),
    *(
        "link=x0.5",
        "rate=x2",
        "rate=x0.5",
        "prompt=x0.5",
        "output=x0.5",
        "output=x1.2",
        "max-in-flight=2",
        "policy=sjf",
    ),
    *(
        "reservation=none",
        "reservation=max-length",
        "async-scheduling=on",
        "in-front=r03",
        "watermark=0.05",
        "gpu=other",
    ),
    *[f"preset={preset}" for preset in PRESETS],
)


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_every_knob_on_any_engine_serves_everybody_or_says_why_not(tmp_path: Path, seed: int) -> None:
    run = again(tmp_path, seed)
    if run is None:
        return
    other = Gpu(by_hand(kv=run.setup.profile.kv, residual=run.setup.profile.residual))
    for knob in ANY:
        try:
            found = run.run(other if knob == "gpu=other" else read_knob(knob))
        except InvariantError:
            raise
        except ServetwinError:
            continue
        assert set(found.requests["status"]) <= {"finished", "rejected"}, (seed, knob)
        ns = (found.finished[["ttft", *PARTS, "e2e"]] * 1e9).round().astype("int64")
        assert (ns[list(PARTS[:4])].sum(axis=1) == ns["ttft"]).all(), (seed, knob)
        assert (ns.to_numpy() >= 0).all(), (seed, knob)

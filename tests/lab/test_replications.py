"""Replications: intervals that cover the truth at their rate, sets that are whole or refused, pairs that tell more."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cli import run
from lab.commands.difference import difference as difference_command
from lab.difference import Difference, difference
from lab.intervals import interval_of, paired_difference
from lab.replications import Estimate, draws, read_replications
from records.profile import write_profile
from serving.errors import ConfigError, RecordError
from tests.lab.test_same_record import NOISE
from tests.records.test_profile import PROFILE, terms
from workloads.jsonl import write_jsonl
from workloads.synthesize import synthesize
from workloads.workload import Workload

NOISY = PROFILE.model_copy(
    update={
        "execute": terms(("one", 0, None, 2.0), ("num_tokens", 0, None, 0.02), ("num_seqs", 0, None, 0.3)),
        "residual": {"mixed": NOISE, "decode": NOISE, "prefill": NOISE},
        "hull": {"num_tokens": (1, 2048), "num_seqs": (1, 128)},
        "kv": PROFILE.kv.model_copy(update={"num_blocks": 600}),
    }
)
"""For the figures of docs/replications.md."""
SETS = 2000
FEW = 5


def requests(seed: int, count: int = 200) -> Workload:
    return synthesize(name=f"w-{seed}", rate=25, num_requests=count, seed=seed, scale=0.125)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile and two workloads."""
    monkeypatch.chdir(tmp_path)
    write_profile(Path("p.json"), NOISY)
    for seed in (1, 2):
        write_jsonl(Path(f"w-{seed}.jsonl"), requests(seed, 20))
    return tmp_path


def simulate(command: str) -> int:
    return run(["simulate", "--profile", "p.json", *command.split()])


# Intervals


def test_the_interval_of_three_numbers() -> None:
    found = interval_of([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.303 / 3**0.5, rel=1e-4)  # t of 2 degrees, 97.5 %, as printed in tables
    assert (found.low, found.high) == (2.0 - found.half_width, 2.0 + found.half_width)


def coverage(covers: Callable[[np.random.Generator], bool]) -> float:
    random = np.random.default_rng(11)
    return sum(covers(random) for _ in range(SETS)) / SETS


def test_intervals_cover_the_truth_at_their_rate() -> None:
    """Four standard errors of a share of 2,000 are 0.019. With 1.96 in place of Student's t it would be 0.88."""

    def covers(random: np.random.Generator) -> bool:
        found = interval_of(random.normal(3.0, 2.0, FEW).tolist())
        return found.low <= 3.0 <= found.high

    assert coverage(covers) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / SETS) ** 0.5)


def pairs(random: np.random.Generator, count: int) -> tuple[list[float], list[float]]:
    """Correlated by 0.9, equal variances; b is larger by 0.5 in the mean."""
    common = random.normal(0.0, 0.9**0.5, count)
    a, b = (common + random.normal(0.0, 0.1**0.5, count) for _ in range(2))
    return a.tolist(), (b + 0.5).tolist()


def test_paired_intervals_cover_the_truth_at_their_rate_and_are_narrower() -> None:
    narrower = []

    def covers(random: np.random.Generator) -> bool:
        found = paired_difference(*pairs(random, FEW))
        narrower.append(found.interval.half_width < found.unpaired_half_width)
        return found.interval.low <= 0.5 <= found.interval.high

    assert coverage(covers) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / SETS) ** 0.5)
    assert fmean(narrower) > 0.9
    many = paired_difference(*pairs(np.random.default_rng(3), 20_000))
    assert many.correlation == pytest.approx(0.9, abs=0.01)
    assert many.variance_ratio == pytest.approx(10, rel=0.05)  # 1 / (1 - 0.9)


VALUES = st.integers(-1000, 1000).map(float)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=12)


@given(PAIRS)
def test_a_difference_is_what_scipy_says(drawn: list[tuple[float, float]]) -> None:
    from scipy.stats import ttest_ind, ttest_rel

    a, b = ([pair[side] for pair in drawn] for side in (0, 1))
    found = paired_difference(a, b)
    if len({y - x for x, y in drawn}) == 1:
        assert found.interval.half_width == 0
        assert found.variance_ratio is None
        return
    of_pairs = ttest_rel(b, a).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((of_pairs.low, of_pairs.high), abs=1e-6)
    if len(set(a)) > 1 < len(set(b)):  # or scipy warns
        unpaired = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        assert found.unpaired_half_width == pytest.approx((unpaired.high - unpaired.low) / 2)
    assert found.variance_ratio == pytest.approx((stdev(a) ** 2 + stdev(b) ** 2) / stdev(y - x for x, y in drawn) ** 2)


@given(PAIRS, VALUES)
def test_a_difference_turns_around_and_knows_no_common_shift(drawn: list[tuple[float, float]], shift: float) -> None:
    a, b = ([pair[side] for pair in drawn] for side in (0, 1))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.interval.mean == -back.interval.mean
    assert there.interval.half_width == back.interval.half_width
    assert there.variance_ratio == back.variance_ratio
    assert paired_difference([x + shift for x in a], [y + shift for y in b]).interval == there.interval


def test_a_figure_that_a_run_has_not_got_has_no_interval() -> None:
    assert Estimate.over([1.0, None, 3.0]) == Estimate(mean=None, half_width=None, values=[1.0, None, 3.0])
    assert Estimate.over([1.0, 3.0]).mean == 2.0


# What is replicated


def test_seeds_and_workloads_go_on_together() -> None:
    one, two = requests(1, 3), requests(2, 3)
    assert [(d.run, d.workload, d.noise_seed) for d in draws([one], 3, 5)] == [
        ("noise-5", one, 5),
        ("noise-6", one, 6),
        ("noise-7", one, 7),
    ]
    assert [(d.run, d.workload, d.noise_seed) for d in draws([one, two], None, 5)] == [
        ("noise-5", one, 5),
        ("noise-6", two, 6),
    ]
    assert [(d.run, d.workload, d.noise_seed) for d in draws([one, two], 2, None)] == [
        ("workload-1", one, None),
        ("workload-2", two, None),
    ]


@pytest.mark.parametrize(
    ("workloads", "replications", "noise_seed", "words"),
    [
        ([1], 3, None, "would all be equal; give --noise-seed"),
        ([1], 1, 5, "at least 2"),
        ([1], 0, 5, "at least 2"),
        ([1, 2], 3, 5, "2 workloads for --replications 3"),
        ([1, 2], 1, None, "at least 2"),
        ([1, 2, 1], None, None, "workloads 1 and 3"),
    ],
)
def test_what_are_no_replications(
    workloads: Sequence[int], replications: int | None, noise_seed: int | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        draws([requests(seed, 3) for seed in workloads], replications, noise_seed)


def test_a_replication_is_the_run_that_it_would_be_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--workload w-1.jsonl --noise-seed 5 --replications 3 --out set") == 0
    told = capsys.readouterr().out
    assert "3 replications" in told
    assert "±" in told
    assert simulate("--workload w-1.jsonl --noise-seed 6 --out alone") == 0
    for file in Path("alone").iterdir():
        assert file.read_bytes() == (Path("set/noise-6") / file.name).read_bytes()
    found = read_replications(Path("set"))
    assert [r.run for r in found.replications] == ["noise-5", "noise-6", "noise-7"]
    values = [json.loads(Path(f"set/{r.run}/summary.json").read_text())["ttft"]["mean"] for r in found.replications]
    assert len(set(values)) == 3
    estimate = found.figures["ttft.mean"]
    assert estimate.values == values
    assert estimate.interval == interval_of(values)
    assert "cost.total" not in found.figures


def test_same_input_same_bytes_and_json_on_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("a", "b"):
        capsys.readouterr()
        assert simulate(f"--workload w-1.jsonl w-2.jsonl --out {out} --json") == 0
    assert Path("a/replications.json").read_bytes() == Path("b/replications.json").read_bytes()
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == "b"
    assert [r["run"] for r in told["replications"]] == ["workload-1", "workload-2"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--workload w-1.jsonl --replications 3 --out x", "--noise-seed"),
        ("--workload w-1.jsonl --workload w-2.jsonl --replications 3 --noise-seed 1 --out x", "2 workloads"),
        ("--workload --out x", "names no file"),
        ("--workload w-1.jsonl --noise-seed 1 --replications 2 --drawn-coefficients --out x", "draws"),
        ("--workload w-1.jsonl --noise-seed -1 --replications 2 --out x", "seed is -1"),
        ("--workload w-1.jsonl --noise-seed 1 --replications 2 --out nowhere/x", "nowhere"),
        ("--workload w-1.jsonl --noise-seed 1 --replications 2 --out p.json", "a file of this name"),
        ("--workload w-1.jsonl w-3.jsonl --noise-seed 1 --out x", "w-3.jsonl"),
        ("--workload w-1.jsonl --noise-seed 1 --replications 2 --out x --num-blocks 2", "KV blocks"),
    ],
)
def test_wrong_use_leaves_nothing(here: Path, capsys: pytest.CaptureFixture[str], command: str, words: str) -> None:
    before = set(here.iterdir())
    assert simulate(command) == 2
    assert words in capsys.readouterr().err
    assert set(here.iterdir()) == before


def test_a_set_is_replaced_only_by_force_and_never_mixed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three = "--workload w-1.jsonl --noise-seed 5 --replications 3 --out set"
    assert simulate(three) == 0
    before = Path("set/replications.json").read_bytes()
    assert simulate(f"{three} --max-num-seqs 1") == 2
    assert "--force" in capsys.readouterr().err
    assert simulate(f"{three.replace('3', '2')} --force") == 2
    assert "noise-7, which is none of these replications" in capsys.readouterr().err
    assert simulate(f"{three} --num-blocks 2 --force") == 2
    assert Path("set/replications.json").read_bytes() == before
    assert simulate(f"{three} --max-num-seqs 1 --force") == 0
    assert Path("set/replications.json").read_bytes() != before


def test_a_set_that_was_broken_off_is_not_taken_for_whole(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import lab.runs

    whole, left = lab.runs.simulate_run, [True, False]

    def interrupted(*arguments: object, **options: object) -> object:
        if not left.pop(0):
            raise KeyboardInterrupt
        return whole(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lab.runs, "simulate_run", interrupted)
    command = "--workload w-1.jsonl --noise-seed 5 --replications 2 --out set"
    assert simulate(command) == 130
    assert [place.name for place in Path("set").iterdir()] == ["noise-5"]
    with pytest.raises(RecordError, match="cannot be read"):
        read_replications(Path("set"))
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert simulate(command) == 2
    assert simulate(f"{command} --force") == 0
    assert len(read_replications(Path("set")).replications) == 2


def test_a_file_that_was_edited_wrongly_is_told(here: Path) -> None:
    assert simulate("--workload w-1.jsonl --noise-seed 5 --replications 2 --out set") == 0
    place = Path("set/replications.json")
    raw = json.loads(place.read_text())
    for change, words in (
        ({"figures": {"ttft.p98": raw["figures"]["ttft.p99"]}}, "no figure 'ttft.p98'"),
        ({"figures": {"ttft.p99": {**raw["figures"]["ttft.p99"], "values": [1.0]}}}, "1 values for 2"),
        ({"replications": [raw["replications"][0]] * 2}, "same workload and noise seed"),
        ({"replications": raw["replications"][:1]}, "replications: list should have at least 2"),
        ({"format": "servetwin.replications/9"}, "format"),
    ):
        place.write_text(json.dumps({**raw, **change}))
        with pytest.raises(RecordError, match=words):
            read_replications(Path("set"))


# Differences


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fcfs against sjf, and two routers: 8 workloads under noise; fcfs and sjf also with one workload."""
    folder = tmp_path_factory.mktemp("sets")
    profile = ["--profile", str(folder / "p.json"), "--noise-seed", "5"]
    write_profile(folder / "p.json", NOISY)
    files = [str(folder / f"w-{seed}.jsonl") for seed in range(1, 9)]
    for seed, file in enumerate(files, 1):
        write_jsonl(Path(file), requests(seed))
    for name, workloads, options in (
        ("fcfs", files, "--max-num-seqs 2"),
        ("sjf", files, '--max-num-seqs 2 --policy sjf(by="total") --predictor oracle'),
        ("one-fcfs", files[:1], "--replications 8 --max-num-seqs 2"),
        ("one-sjf", files[:1], '--replications 8 --max-num-seqs 2 --policy sjf(by="total") --predictor oracle'),
        ("round-robin", files, "--max-num-seqs 1 --replicas 3 --router round-robin"),
        ("shortest", files, "--max-num-seqs 1 --replicas 3 --router join-shortest-queue"),
    ):
        command = ["simulate", "--workload", *workloads, *profile, "--out", str(folder / name), *options.split()]
        assert run(command) == 0
    return folder


def between(sets: Path, a: str, b: str) -> Difference:
    return difference(sets / a, sets / b)


def test_pairs_tell_two_policies_apart(sets: Path) -> None:
    found = between(sets, "fcfs", "sjf")
    e2e = found.figure("e2e.mean")
    assert e2e.better == "b"
    assert e2e.difference.correlation is not None
    assert e2e.difference.correlation > 0.9
    assert e2e.difference.variance_ratio is not None
    assert e2e.difference.variance_ratio > 5
    assert e2e.difference.interval.half_width < e2e.difference.unpaired_half_width
    # The price of it: long requests wait longer. Throughput is that of the arrivals.
    assert found.figure("e2e.p99").better == "a"
    assert found.figure("requests_per_s").better == "unknown"
    assert found.figure("num_requests.finished").better == "equal"


def test_noise_alone_pairs_less(sets: Path) -> None:
    alone = between(sets, "one-fcfs", "one-sjf").figure("e2e.mean")
    both = between(sets, "fcfs", "sjf").figure("e2e.mean")
    assert alone.better == "b"
    assert alone.difference.variance_ratio is not None
    assert both.difference.variance_ratio is not None
    assert 1 < alone.difference.variance_ratio < both.difference.variance_ratio


def test_pairs_tell_two_routers_apart_where_single_sets_do_not(sets: Path) -> None:
    found = between(sets, "round-robin", "shortest").figure("e2e.mean")
    assert found.better == "b"
    unpaired = found.difference.unpaired_half_width
    assert abs(found.difference.interval.mean) < unpaired  # without pairs, 0 is inside
    assert found.difference.variance_ratio is not None
    assert found.difference.variance_ratio > 10
    assert "3 x vllm/fcfs behind round-robin" in read_replications(sets / "round-robin").system


def test_the_two_sides_can_be_exchanged(sets: Path) -> None:
    there, back = between(sets, "fcfs", "sjf"), between(sets, "sjf", "fcfs")
    exchanged = {"a": "b", "b": "a", "equal": "equal", "unknown": "unknown"}
    for found in there.figures:
        other = back.figure(found.figure.name)
        assert found.difference.interval.mean == -other.difference.interval.mean
        assert exchanged[found.better] == other.better


def test_a_set_equals_itself(sets: Path) -> None:
    assert {found.better for found in between(sets, "fcfs", "fcfs").figures} == {"equal"}


def test_pairs_are_found_in_any_order(sets: Path, tmp_path: Path) -> None:
    raw = json.loads((sets / "sjf/replications.json").read_text())
    raw["replications"].reverse()
    for figure in raw["figures"].values():
        figure["values"].reverse()
    (tmp_path / "replications.json").write_text(json.dumps(raw))
    assert difference(sets / "fcfs", tmp_path).figures == between(sets, "fcfs", "sjf").figures


def test_more_is_better_of_rates_and_less_of_times_and_cost(sets: Path, tmp_path: Path) -> None:
    raw = json.loads((sets / "fcfs/replications.json").read_text())
    for figure in raw["figures"].values():
        figure["values"] = [value + 1 for value in figure["values"]]
    (tmp_path / "replications.json").write_text(json.dumps(raw))
    found = difference(sets / "fcfs", tmp_path)
    assert found.figure("requests_per_s").better == "b"
    assert found.figure("num_requests.finished").better == "b"
    assert found.figure("ttft.mean").better == "a"
    assert any("did not finish the same numbers" in note for note in found.notes())


def test_a_figure_that_one_side_lacks_is_left_out_and_told(sets: Path, tmp_path: Path) -> None:
    raw = json.loads((sets / "sjf/replications.json").read_text())
    tpot = raw["figures"]["tpot.mean"]
    tpot.update(mean=None, half_width=None, values=[None, *tpot["values"][1:]])
    (tmp_path / "replications.json").write_text(json.dumps(raw))
    found = difference(sets / "fcfs", tmp_path)
    assert "tpot.mean" not in [f.figure.name for f in found.figures]
    assert found.notes() == ["not every replication has tpot (mean): left out"]


def test_what_does_not_pair_is_refused(sets: Path) -> None:
    with pytest.raises(RecordError, match=r"noise-6 \(workload w-2, noise seed 6\) has no pair in .*one-fcfs"):
        between(sets, "fcfs", "one-fcfs")
    with pytest.raises(RecordError, match="no-such"):
        between(sets, "fcfs", "no-such")


def test_the_verb_prints_words_on_80_columns_and_json(
    sets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets)
    monkeypatch.setenv("COLUMNS", "80")
    difference_command(Path("fcfs"), Path("sjf"))
    told = capsys.readouterr().out
    assert "…" not in told
    assert "B (sjf) is better in ttft (mean, p50)" in told
    assert "A (fcfs) is better in ttft (p99)" in told
    assert "cannot be told from 8 pairs: " in told
    difference_command(Path("fcfs"), Path("sjf"), json=True)
    raw = json.loads(capsys.readouterr().out)
    assert raw["pairs"] == 8
    assert raw["figures"]["e2e.mean"]["better"] == "b"


def test_drawn_coefficients_make_intervals_of_a_run_which_more_replications_do_not_narrow() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    mean, run = Estimate.over(values), Estimate.over(values, of_a_run=True)
    assert mean.half_width is not None
    assert run.mean == mean.mean == 2.5
    assert run.half_width == pytest.approx(mean.half_width * 5**0.5)
    assert Estimate.over([1.0, None], of_a_run=True).half_width is None


def test_replications_with_drawn_coefficients_hold_what_calibration_does_not_know(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = [t.coefficient_ms for duration in NOISY.durations for t in duration.every_term()]
    slower = [tuple(price * factor for price in prices) for factor in (0.8, 0.9, 1.1, 1.2)]
    write_profile(Path("p.json"), NOISY.model_copy(update={"draws": tuple(slower)}))
    drawn = "--workload w-1.jsonl --noise-seed 4 --replications 4"
    assert simulate(f"{drawn} --out fitted") == 0
    assert simulate(f"{drawn} --drawn-coefficients --out drawn") == 0
    fitted, uncertain = read_replications(Path("fitted")), read_replications(Path("drawn"))
    wide, narrow = uncertain.figures["tpot.mean"].half_width, fitted.figures["tpot.mean"].half_width
    assert wide is not None
    assert narrow is not None
    assert wide > 5 * narrow
    values = uncertain.figures["tpot.mean"].values
    assert values == sorted(values, key=lambda value: value or 0), "seed 4 takes draw 0, and so on"
    with pytest.raises(RecordError, match="make both with --drawn-coefficients"):
        difference(Path("fitted"), Path("drawn"))

"""The points of a design: all of a grid, one in each slice of a Latin hypercube; names that tell them apart."""

from math import log, prod
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.sweep.latin import latin_points
from lab.sweep.spec import Range
from tests.lab.sweep.made import SMALL, cells_of

AXES = {
    "rate": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    "replicas": st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
    "max_in_flight": st.lists(st.integers(1, 50), min_size=1, max_size=2, unique=True),
}


@settings(max_examples=30)
@given(axes=st.fixed_dictionaries(AXES), seats=st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True))
def test_a_grid_is_every_combination_once(
    tmp_path_factory: object, axes: dict[str, list[int]], seats: list[int]
) -> None:
    from tempfile import TemporaryDirectory

    lines = [f"{key}: {values}" for key, values in axes.items()]
    text = "\n".join(
        [
            "profile: h100-qwen3-14b-vllm",
            "workload: {requests: 5}",
            *lines,
            "engines:",
            "  a: {}",
            "  b: {policy: sjf, policy_options: {by: [prompt, total]}, predictor: oracle}",
            f"settings: {{max_num_seqs: {seats}}}",
        ]
    )
    with TemporaryDirectory() as folder:
        cells = cells_of(Path(folder), text)
    assert len(cells) == 3 * len(seats) * prod(map(len, axes.values()))
    assert [cell.id for cell in cells] == list(range(len(cells)))
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({cell.scenario.sha256() for cell in cells}) == len(cells)
    assert len({cell.group for cell in cells}) == len(axes["rate"])
    for cell in cells:
        assert cell.scenario.load.rate in axes["rate"]
        assert cell.scenario.settings["max_num_seqs"] in seats


@given(
    low=st.integers(1, 50),
    width=st.integers(1, 5000),
    is_log=st.booleans(),
    whole=st.booleans(),
    n=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_each_slice_of_a_range_holds_one_point(
    low: int, width: int, is_log: bool, whole: bool, n: int, seed: int
) -> None:
    found = Range(low, low + width, whole, is_log)
    points = [p["a"] for p in latin_points({"a": found, "b": Range(0.0, 1.0, False, False)}, n, seed)]
    assert points == [p["a"] for p in latin_points({"a": found, "b": Range(0.0, 1.0, False, False)}, n, seed)]
    assert all(low <= point <= low + width for point in points)
    if whole:
        assert all(isinstance(point, int) for point in points)
        return
    share = (lambda x: log(x / low) / log((low + width) / low)) if is_log else (lambda x: (x - low) / width)
    # Points have six digits, so one may lie in the next slice by as much.
    slices = sorted(share(point) * n for point in points)
    assert all(i - 0.1 <= at <= i + 1.1 for i, at in enumerate(slices))


def test_engines_share_the_points_of_a_common_range_and_have_their_own_of_their_own(tmp_path: Path) -> None:
    text = (
        "profile: h100-qwen3-14b-vllm\nworkload: {requests: 5}\nrate: 4\nengines:\n  a: {}\n"
        "  b: {policy: las}\n"
        "search:\n  latin-hypercube:\n    points: 6\n    ranges:\n"
        "      settings.max_num_seqs: {low: 4, high: 400, log: true}\n"
        "      engines.b.settings.max_num_batched_tokens: {low: 512, high: 4096}\n"
    )
    cells = cells_of(tmp_path, text)
    seats = {
        name: [cell.scenario.settings["max_num_seqs"] for cell in cells if cell.engine == name] for name in ("a", "b")
    }
    assert seats["a"] == seats["b"]
    assert len(set(seats["a"])) == 6
    for cell in cells:
        assert ("max_num_batched_tokens" in cell.scenario.settings) == (cell.engine == "b")
        assert (cell.axes["settings.max_num_batched_tokens"] is None) == (cell.engine == "a")


def test_what_a_cell_is_called(tmp_path: Path) -> None:
    text = SMALL.replace(
        "  las: {policy: las}", "  sjf: {policy: sjf, policy_options: {by: [prompt, total]}, predictor: oracle}"
    )
    cells = cells_of(tmp_path, text)
    assert cells[0].name == "fcfs, max_num_seqs 4, rate 20"
    assert cells[-1].name == "sjf, by total, max_num_seqs 64, rate 60"
    assert cells[-1].group == "constant(prompt=200, output=8), 60 requests/s, rtx4090-llama-3.1-8b-vllm"
    assert cells[-1].scenario.policy == "sjf(by='total')"
    assert cells[-1].scenario.price_per_hour == 0.5


def test_profiles_and_workloads_of_one_name_are_told_apart(tmp_path: Path) -> None:
    text = (
        "profile: [{name: h100-qwen3-14b-vllm, price_per_hour: 2}, {name: h100-qwen3-14b-vllm, price_per_hour: 3}]\n"
        "workload: {requests: 5, scale: [0.5, 1.0]}\nrate: 4\nengines: {a: {}}\n"
    )
    cells = cells_of(tmp_path, text)
    assert len({cell.group for cell in cells}) == 4
    assert cells[0].group == "azure-conv requests 5 scale 0.5, 4 requests/s, h100-qwen3-14b-vllm at 2/h"
    assert len({cell.demand for cell in cells}) == 2


def test_a_seed_is_that_of_requests_and_of_noise(tmp_path: Path) -> None:
    one, other, *_ = cells_of(tmp_path, SMALL)
    assert one.under(7, True).load == other.under(7, True).load
    assert (one.under(7, True).load.seed, one.under(7, True).noise_seed) == (7, 7)
    assert one.under(7, False).noise_seed is None


def test_an_engine_has_its_own_setting_before_that_of_all(tmp_path: Path) -> None:
    text = SMALL.replace("  las: {policy: las}", "  las: {policy: las, settings: {max_num_seqs: 9}}")
    cells = cells_of(tmp_path, text)
    assert {cell.scenario.settings["max_num_seqs"] for cell in cells if cell.engine == "las"} == {9}
    assert len(cells) == 6

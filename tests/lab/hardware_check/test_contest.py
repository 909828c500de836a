"""Who meets on hardware, with what, and what is refused."""

from pathlib import Path

import pandas as pd
import pytest

from lab.hardware_check.contest import (
    NOISE_APART,
    Chance,
    Ranked,
    Standing,
    choose,
    figure_to_check,
    in_random_order,
    one_group,
    repeats_of,
    requests_of,
)
from lab.hardware_check.refusals import (
    refuse_another_machine,
    refuse_fleets,
    refuse_for_servers,
    refuse_predictors,
    refuse_unbuildable,
)
from lab.hardware_check.simulated import spec_of
from lab.hardware_check.swept import read_standing, standing_of
from lab.run_figures import FIGURES
from lab.scenario.load import Load
from lab.scenario.scenario import Scenario
from lab.scenario.simulate import profile_of
from serving.errors import ConfigError

TTFT = FIGURES["ttft.mean"]
BASE = Scenario(load=Load(requests=20, rate=4.0), profile="rtx4090-llama-3.1-8b-vllm")


def standing(*scenarios: Scenario, chances: tuple[Chance, ...] = (Chance(1, 1), Chance(2, 2))) -> Standing:
    ranked = tuple(Ranked(f"cell {i}", scenario, float(i), None) for i, scenario in enumerate(scenarios, 1))
    return Standing("g", TTFT, ranked, chances, Path(), "0" * 64)


def with_seats(*seats: int) -> Standing:
    return standing(*(BASE.model_copy(update={"settings": {"max_num_seqs": n}}) for n in seats))


def test_the_best_and_the_worst_are_chosen_by_rank() -> None:
    chosen = choose(with_seats(8, 16, 32, 64, 128), 2, worst=True)
    assert [(one.name, one.rank, one.role) for one in chosen] == [
        ("cell 1", 1, "winner"),
        ("cell 2", 2, "best"),
        ("cell 5", 5, "worst"),
    ]
    assert len({one.folder for one in chosen}) == 3
    assert [one.rank for one in choose(with_seats(8, 16, 32), 3, worst=True)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("seats", "top", "worst", "told"),
    [((8, 16), 0, True, "--top is 0"), ((8, 16), 3, True, "ranks 2 cells"), ((8, 16), 1, False, "--no-worst")],
)
def test_too_few_or_too_many(seats: tuple[int, ...], top: int, worst: bool, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        choose(with_seats(*seats), top, worst)


def test_cells_that_hardware_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="price or chance alone"):
        choose(standing(BASE, BASE.model_copy(update={"price_per_hour": 2.0})), 2, worst=False)


def test_repeats_take_the_chances_of_the_sweep_in_turn_and_then_other_noise() -> None:
    found = repeats_of(standing(BASE), 5, None)
    assert [(r.number, r.chance.seed) for r in found] == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1)]
    assert [r.chance.noise_seed for r in found] == [1, 2, 1 + NOISE_APART, 2 + NOISE_APART, 1 + 2 * NOISE_APART]
    assert repeats_of(standing(BASE), 3, None) == found[:3]
    assert {r.chance.seed for r in repeats_of(standing(BASE), 4, 2)} == {2}
    with pytest.raises(ConfigError, match="seeds 1, 2 only"):
        repeats_of(standing(BASE), 4, 3)


def test_the_requests_are_those_of_the_sweeps_seed() -> None:
    drawn = requests_of(BASE, Chance(7, None), Path())
    assert drawn.sha256 == BASE.load.model_copy(update={"seed": 7}).workload().sha256
    assert drawn.sha256 != requests_of(BASE, Chance(8, None), Path()).sha256


def test_every_repeat_has_an_order_of_its_own_and_more_repeats_leave_it() -> None:
    items = list(range(8))
    orders = in_random_order(items, range(1, 6), 0)
    assert all(sorted(order) == items for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 5
    assert in_random_order(items, range(1, 3), 0) == {1: orders[1], 2: orders[2]}


def test_figures_and_groups_are_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean ttft\.mean"):
        figure_to_check("ttft.meen")
    with pytest.raises(ConfigError, match="price times a time"):
        figure_to_check("cost.total")
    assert one_group(["a", "a"], None) == "a"
    with pytest.raises(ConfigError, match="one of: a; b"):
        one_group(["a", "b"], None)


def test_what_hardware_cannot_do() -> None:
    fleet = BASE.model_copy(update={"replicas": 2})
    with pytest.raises(ConfigError, match="cell 2 is a fleet of 2 replicas"):
        refuse_fleets(choose(standing(BASE, fleet), 2, worst=False))
    told = BASE.model_copy(update={"predictor": "oracle", "policy": "srpt"})
    with pytest.raises(ConfigError, match=r"cell 2: predictor oracle.*noisy"):
        refuse_predictors(choose(standing(BASE, told), 2, worst=False))
    profile = profile_of(BASE)
    with pytest.raises(ConfigError, match="cell x: unknown policy"):
        refuse_unbuildable({"x": spec_of(BASE.model_copy(update={"policy": "fcsf"}), profile)}, profile)


def test_another_model_or_machine_is_refused_by_name() -> None:
    profile = profile_of(BASE)
    with pytest.raises(ConfigError, match=r"--model 15m is 15m.*--url"):
        refuse_another_machine(profile, "15m", {"name": "15m"}, {})
    own = profile.model_copy(update={"model": {"name": "15m"}, "hardware": {"processor": "A"}})
    refuse_another_machine(own, "15m", {"name": "15m"}, {"processor": "A", "logical_cpus": 2})
    with pytest.raises(ConfigError, match="processor A, here B"):
        refuse_another_machine(own, "15m", {"name": "15m"}, {"processor": "B"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_in_flight": 4}, "max_in_flight"),
        ({"policy": "sjf", "predictor": "noisy(error=0.3)"}, "the one length that it is told"),
        ({"policy": "edf"}, "deadlines"),
    ],
)
def test_what_cannot_be_brought_about_over_http(change: dict[str, object], told: str) -> None:
    cells = choose(standing(BASE, BASE.model_copy(update=change)), 2, worst=False)
    with pytest.raises(ConfigError, match=f"cell 2.*{told}"):
        refuse_for_servers(cells, [BASE.load.workload()])
    refuse_for_servers(cells[:1], [BASE.load.workload()])


def test_a_standing_has_the_seeds_that_all_cells_have() -> None:
    runs = pd.DataFrame(
        {"cell": ["a", "a", "a", "b", "b"], "seed": [3, 1, 2, 2, 3], "ttft.mean": [1.0, 2.0, 3.0, 5.0, None]}
    )
    other = BASE.model_copy(update={"policy": "sjf"})
    found = standing_of("g", TTFT, [("a", BASE), ("b", other)], runs, Path(), "")
    assert found.chances == (Chance(2, 2),)
    assert found.ranked[0].mean == pytest.approx(2.0)
    assert found.ranked[0].half_width == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert found.ranked[1].half_width is None


def test_the_record_of_a_run_is_no_sweep_and_the_verb_for_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "servetwin.run/1"}')
    with pytest.raises(ConfigError, match=f"servetwin laws {tmp_path}"):
        read_standing(tmp_path, TTFT, None)

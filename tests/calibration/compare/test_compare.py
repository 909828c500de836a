"""Comparing records: errors, their noise, and what it refuses to compare."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from calibration.compare import compare
from serving.errors import ProfileError, RecordError
from tests.calibration.compare.conftest import LOAD
from tests.records.test_profile import PROFILE
from workloads.synthesize import synthesize

OTHER = synthesize(name="other", rate=20.0, num_requests=40, seed=2, scale=0.05)


def test_equal_runs_have_no_error_and_are_inside_noise(record) -> None:
    runs = [record(f"{world}-{i}", world, 0.1, seed=i) for world in ("simulated", "real") for i in (1, 2, 3)]
    cell = compare(runs).cells[0]
    assert {figure.difference.mean for figure in cell.figures} == {0.0}
    assert {figure.verdict for figure in cell.figures} == {"inside noise"}
    assert {figure.metric for figure in cell.figures} >= {"ttft", "tpot", "itl", "e2e", "normalized_e2e"}
    assert all(figure.difference.paired for figure in cell.figures)
    assert (len(cell.simulated), len(cell.measured), cell.num_requests) == (3, 3, 40)


def test_a_slower_simulation_has_its_error_and_one_repeat_has_no_verdict(record) -> None:
    comparison = compare([record("slow", "simulated", 0.11), record("real", "real", 0.1)])
    tpot = comparison.cells[0].figure("tpot")
    assert 0.1 < tpot.error < 0.3  # requests meet in more steps, too
    assert (tpot.verdict, tpot.noise) == ("unknown: one repeat", None)
    assert "3 have one repeat, so their noise is unknown" in comparison.verdict()


def test_a_shift_of_step_times_is_real_with_enough_repeats(record) -> None:
    real = [record(f"real {n}x", "real", 0.1, seed=n) for n in range(6)]
    apart = compare([record("slow", "simulated", 0.104), *real]).cells[0]
    assert {apart.figure(m).verdict for m in ("tpot", "itl", "e2e", "prefill")} == {"real"}


def test_simulations_of_the_same_law_are_seldom_told_apart(record) -> None:
    found = []
    for first in range(0, 40, 5):
        real = [record(f"real {n}x", "real", 0.1, seed=n) for n in range(first + 1, first + 5)]
        cell = compare([record(f"like {first}", "simulated", 0.1, seed=first), *real]).cells[0]
        assert not cell.figure("tpot").difference.paired
        found += [cell.figure(m).verdict for m in ("ttft", "tpot")]
    assert found.count("real") <= 3
    assert found.count("real") + found.count("inside noise") == 16


def test_pairs_take_out_what_a_round_has_in_common(record) -> None:
    """The machine is slower in each round, and each simulation is put on the speed of its round."""
    speeds = {1: 0.09, 2: 0.1, 3: 0.11, 4: 0.12}
    load = synthesize(name="light", rate=2.0, num_requests=40, seed=1, scale=0.05)
    real = [record(f"real-{n}", "real", ms, load=load, seed=n) for n, ms in speeds.items()]
    sims = [record(f"sim-{n}", "simulated", ms * 1.03, load=load, seed=n) for n, ms in speeds.items()]
    tpot = compare([*sims, *real]).cells[0].figure("tpot")
    assert tpot.difference.paired
    assert tpot.verdict == "real"
    assert tpot.noise > 3 * tpot.error_half_width


def test_nothing_depends_on_the_order_of_arguments(record) -> None:
    runs = [record("sim", "simulated", 0.1), *(record(f"real{n}", "real", 0.1, seed=n) for n in (1, 2))]
    runs.append(record("sim b", "simulated", 0.1, preset="nano-vllm"))
    runs.append(record("real b", "real", 0.1, preset="nano-vllm"))
    assert len({json.dumps(compare(list(order)).as_dict()) for order in list(permutations(runs))[::17]}) == 1


def test_json_is_whole_and_has_no_numbers_that_json_lacks(record) -> None:
    found = compare([record("sim", "simulated", 0.1), record("real", "real", 0.1)]).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["cells"][0]["simulated_runs"][0].endswith("sim")


def test_inter_token_latencies_are_every_gap_of_every_request(record) -> None:
    run = compare([record("sim", "simulated", 0.1), record("real", "real", 0.1, seed=1)]).cells[0].measured[0]
    gaps, requests = run.values("itl"), run.requests
    assert len(gaps) == (requests["output_len"] - 1).sum()
    assert gaps.sum() == pytest.approx((requests["last_token_s"] - requests["first_token_s"]).sum())
    assert run.statistic("itl", "p50") == pytest.approx(np.percentile(gaps, 50))


def test_request_errors_are_those_of_the_same_requests(record) -> None:
    a, b = record("a", "real", 0.1), record("b", "real", 0.12)
    sim = record("sim", "simulated", 0.11)
    cell = compare([sim, a, b]).cells[0]
    errors = next(found for found in cell.requests if found.metric == "tpot")
    tpot = [r.requests.set_index("request_id")["tpot_s"].dropna() for r in (sim, a, b)]
    pooled = np.concatenate([abs(tpot[0] - real) / real for real in tpot[1:]])
    assert errors.error.median == pytest.approx(np.median(pooled))
    floor = np.concatenate([abs(tpot[1] - tpot[2]) / tpot[2], abs(tpot[1] - tpot[2]) / tpot[1]])
    assert (errors.floor.median, errors.floor.p90) == pytest.approx((np.median(floor), np.percentile(floor, 90)))
    assert errors.share_of_noise == 1.0
    assert all(found.floor is None for found in compare([sim, a]).cells[0].requests)


def test_a_row_a_request(record) -> None:
    sim, a, b = record("sim", "simulated", 0.11), record("a", "real", 0.1), record("b", "real", 0.12)
    table = compare([sim, a, b]).per_request().set_index("request_id")
    assert len(table) == 40
    tpot = {name: r.requests.set_index("request_id")["tpot_s"] for name, r in (("a", a), ("b", b))}
    assert np.allclose(table["measured_tpot_s"], (tpot["a"] + tpot["b"]) / 2, equal_nan=True)
    assert np.allclose(table["measured_tpot_range_s"], tpot["b"] - tpot["a"], equal_nan=True)


def test_errors_over_cells_are_medians_and_the_load_is_that_of_the_name(record) -> None:
    runs, loads = [], (0.5, 0.8, 0.95)
    for n, (share, off) in enumerate(zip(loads, (1.01, 1.05, 0.98), strict=True)):
        load = synthesize(name=f"load-{share:g}", rate=20.0, num_requests=30, seed=n, scale=0.05)
        runs += [record(f"s{n}", "simulated", 0.1 * off, load=load), record(f"r{n}", "real", 0.1, load=load)]
    comparison = compare(runs)
    assert [cell.load for cell in comparison.cells] == list(loads)
    tpot = next(one for one in comparison.over_cells if (one.metric, one.statistic) == ("tpot", "mean"))
    errors = sorted(abs(cell.figure("tpot").error) for cell in comparison.cells)
    assert (tpot.median, tpot.worst, tpot.cells) == (errors[1], errors[2], 3)
    normalized = comparison.normalized_e2e
    assert (normalized.load, normalized.error.cells) == (0.8, 1)
    assert normalized.error.median == abs(comparison.cells[1].find("normalized_e2e", "p95").error)


def test_without_a_load_all_cells_count(record) -> None:
    comparison = compare([record("s", "simulated", 0.1), record("r", "real", 0.1)])
    assert comparison.normalized_e2e.load is None
    told = compare([record("s1", "simulated", 0.1), record("r1", "real", 0.1, conditions={"load": 0.7})])
    assert told.normalized_e2e.load == 0.7


def test_within_judges_the_headline_means(record) -> None:
    comparison = compare([record("sim", "simulated", 0.104), record("real", "real", 0.1)])
    assert comparison.within(0.10)
    assert not comparison.within(0.02)


def test_one_token_outputs_have_no_tpot_and_that_is_no_error(record) -> None:
    load = synthesize(name="short", rate=20.0, num_requests=10, seed=1, scale=0.0001)
    comparison = compare([record("s", "simulated", 0.1, load=load), record("r", "real", 0.1, load=load)])
    cell = comparison.cells[0]
    assert all(request.output_len == 1 for request in load.requests)
    assert cell.find("tpot") is None
    assert comparison.within(0.01)
    assert "TPOT" not in comparison.verdict()
    with pytest.raises(RecordError, match="has a tpot"):
        cell.figure("tpot")


def test_a_machine_that_drifted_since_calibration_is_noted(record) -> None:
    drifted = compare(
        [
            record("s", "simulated", 0.1, conditions={"profile_probe_ms": 20.0}),
            record("r", "real", 0.11, conditions={"probe_ms": 22.0}),
        ]
    )
    assert drifted.cells[0].speed == pytest.approx(1.1)
    assert "1.10 times as long" in drifted.notes()[0]
    steady = compare(
        [
            record("s1", "simulated", 0.1, conditions={"profile_probe_ms": 20.0}),
            record("r1", "real", 0.1, conditions={"probe_ms": 20.1}),
        ]
    )
    assert steady.notes() == []


def test_a_machine_that_others_used_too_is_noted(record) -> None:
    runs = [record("s", "simulated", 0.1)]
    runs += [record(f"r{x}", "real", 0.1 + x / 100, conditions={"other_programs": x}) for x in (0.4, 0.01)]
    assert "other programs had 0.40 of a processor" in compare(runs).notes()[0]
    quiet = [record("s1", "simulated", 0.1), record("r9", "real", 0.1, conditions={"other_programs": 0.05})]
    assert compare(quiet).notes() == []


def test_it_refuses_runs_that_have_no_counterpart_or_other_settings(record) -> None:
    with pytest.raises(RecordError, match="no measured run of the same workload"):
        compare([record("sim", "simulated", 0.1), record("real", "real", 0.1, load=OTHER)])
    with pytest.raises(RecordError, match="max_num_seqs 128 and 4"):
        compare([record("sim1", "simulated", 0.1), record("real1", "real", 0.1, max_num_seqs=4)])
    with pytest.raises(RecordError, match="max_in_flight None and 8"):
        compare([record("sim2", "simulated", 0.1), record("real2", "real", 0.1, conditions={"max_in_flight": 8})])


def test_a_run_that_is_given_twice_is_no_repeat(record, tmp_path: Path) -> None:
    sim, real, copy = record("sim", "simulated"), record("real", "real"), record("copy", "real")
    for twice in (real, copy):
        with pytest.raises(RecordError, match="is the same run as"):
            compare([sim, real, twice])


def test_settings_that_both_worlds_have_are_engines_of_their_own(record) -> None:
    runs = [
        record(f"{world}-{seats}", world, 0.1, seed=1, max_num_seqs=seats)
        for world in ("simulated", "real")
        for seats in (2, 64)
    ]
    comparison = compare(runs)
    assert [cell.engine for cell in comparison.cells] == ["vllm/fcfs max_num_seqs=2", "vllm/fcfs max_num_seqs=64"]
    assert comparison.rankings[0].measured_winner == "vllm/fcfs max_num_seqs=64"


def test_a_profile_must_be_that_of_the_simulations(record) -> None:
    runs = [record("sim", "simulated"), record("real", "real")]
    with pytest.raises(ProfileError, match="simulated with no profile"):
        compare(runs, PROFILE)
    assert LOAD.name == compare(runs).cells[0].workload


def test_request_errors_are_of_pairs_where_there_are_some(record) -> None:
    speeds = {1: 0.09, 2: 0.12}
    runs = [record(f"{world}-{n}", world, ms, seed=n) for world in ("simulated", "real") for n, ms in speeds.items()]
    errors = compare(runs).cells[0].requests
    assert {found.error.p90_s for found in errors} == {0.0}
    assert next(found for found in errors if found.metric == "tpot").floor.median > 0.1

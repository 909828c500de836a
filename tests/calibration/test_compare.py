"""Comparing records: errors, noise, preferences, and what it refuses to compare. The "real" runs are scripted."""

import pytest

from calibration.compare import compare
from records.inputs import RecordedScheduler
from records.manifest import EngineIdentity, Manifest, WorkloadIdentity
from records.run import RunData, read_run, write_run
from serving.errors import RecordError
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.synthesize import synthesize
from workloads.truth import Truth
from workloads.workload import materialize

LOAD = synthesize(name="load", rate=20.0, num_requests=40, seed=1, scale=0.05)
OTHER = synthesize(name="other", rate=20.0, num_requests=40, seed=2, scale=0.05)


@pytest.fixture
def record(tmp_path):
    """Write a record: per-token milliseconds decide the times."""

    def write(name, world, ms, preset="vllm", load=LOAD, probe=None, **settings):
        recorded = RecordedScheduler(build_scheduler(preset, settings=settings))
        cost = ScriptedCost(execute=lambda step: round(ms * 1e6 * (5 + step.num_tokens)), return_=1000)
        run = simulate(materialize(load), Truth(load), recorded, cost)
        conditions = {} if probe is None else {"probe_ms" if world == "real" else "profile_probe_ms": probe}
        manifest = Manifest(
            world=world,
            engine=EngineIdentity(preset=preset, policy="fcfs", settings={"max_num_seqs": 128, **settings}),
            workload=WorkloadIdentity(name=load.name, sha256=load.sha256, num_requests=len(load.requests)),
            conditions=conditions,
        )
        data = RunData(materialize(load), run.rejected, run.receipts, recorded.lines())
        write_run(tmp_path / name, manifest, data)
        return read_run(tmp_path / name)

    return write


def test_equal_runs_have_no_error_and_a_slower_simulation_has_its_error(record) -> None:
    same = compare([record("sim", "simulated", 0.1), record("real", "real", 0.1)])
    assert {f.error for c in same.cells for f in c.figures if f.measured} == {0.0}
    slow = compare([record("slow", "simulated", 0.11), record("real1", "real", 0.1)]).cells[0]
    assert slow.figure("prefill").error > 0.09
    assert slow.figure("tpot").error > 0.09
    assert slow.figure("ttft").noise is None


def test_noise_is_half_the_spread_of_the_repeats_and_decides_what_is_inside(record) -> None:
    slow, fast = record("a", "real", 0.104), record("b", "real", 0.1)
    cell = compare([record("sim", "simulated", 0.102), slow, fast]).cells[0]
    tpot = cell.figure("tpot")
    assert tpot.noise == pytest.approx((slow.requests["tpot_s"].mean() - fast.requests["tpot_s"].mean()) / 2)
    assert tpot.noise > 0
    assert tpot.inside_noise
    assert (cell.num_simulated, cell.num_measured, cell.num_requests) == (1, 2, 40)


def test_preferences_pair_engines_on_one_workload_and_say_what_exceeds_noise(record) -> None:
    runs = [
        record(f"{world}-{preset}-{i}", world, ms, preset)
        for preset, speed in (("vllm", 0.1), ("nano-vllm", 0.2))
        for i, (world, ms) in enumerate((("simulated", speed), ("real", speed), ("real", speed * 1.01)))
    ]
    comparison = compare(runs)
    assert [(p.metric, p.simulated, p.measured, p.beyond_noise) for p in comparison.preferences] == [
        (m, "vllm/fcfs", "vllm/fcfs", True) for m in ("ttft", "tpot", "e2e")
    ]
    assert "3 of 3 comparisons" in comparison.verdict()


def test_within_judges_the_headline_means(record) -> None:
    comparison = compare([record("sim", "simulated", 0.104), record("real", "real", 0.1)])
    assert comparison.within(0.10)
    assert not comparison.within(0.02)


def test_a_machine_that_drifted_since_calibration_is_noted(record) -> None:
    drifted = compare([record("s", "simulated", 0.1, probe=20.0), record("r", "real", 0.11, probe=22.0)])
    assert drifted.cells[0].speed == pytest.approx(1.1)
    assert "1.10 times as long" in drifted.notes()[0]
    steady = compare([record("s1", "simulated", 0.1, probe=20.0), record("r1", "real", 0.1, probe=20.1)])
    assert steady.notes() == []


def test_it_refuses_runs_that_have_no_counterpart_or_other_settings(record) -> None:
    with pytest.raises(RecordError, match="no measured run of the same workload"):
        compare([record("sim", "simulated", 0.1), record("real", "real", 0.1, load=OTHER)])
    with pytest.raises(RecordError, match="max_num_seqs 128 and 4"):
        compare([record("sim1", "simulated", 0.1), record("real1", "real", 0.1, max_num_seqs=4)])

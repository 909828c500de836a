"""Runs that cannot be explained are refused, with what to do."""

import pytest

from calibration.substitution.explain import explain
from serving.errors import RecordError
from serving.schedule.engine import EngineSpec
from tests.calibration.substitution.runs import LOAD, MODEL, builder, engine, real, simulated, told, with_times
from workloads.synthesize import synthesize
from workloads.workload import Workload, WorkloadRequest

OTHER = synthesize(name="other", rate=20.0, num_requests=10, seed=4, scale=0.05)
PAIR = Workload(
    "pair", (WorkloadRequest("a", 0, 20, 4, 4), WorkloadRequest("b", 0, 20, 4, 4, parent=("a",), think_time=10))
)


def refused(words, *runs, error=RecordError, profile=MODEL, **how) -> None:
    with pytest.raises(error, match=words):
        explain(runs[0], runs[1:], profile, builder(), **how)


def test_what_is_not_a_simulation_beside_measured_runs(tmp_path) -> None:
    sim, measured = simulated(tmp_path / "sim"), real(tmp_path / "real")
    refused("a real run; explain takes first a simulated run", measured, measured)
    refused("a simulated run; explain takes", sim, sim)
    refused("different workloads", sim, real(tmp_path / "other", load=OTHER))
    refused("ran on different engines", sim, measured, real(tmp_path / "seats", spec=engine(max_num_seqs=3)))
    refused("at most 2 requests in flight, those of .* any number; simulate with the same --max-in-flight",
            sim, real(tmp_path / "capped", max_in_flight=2))  # fmt: skip
    refused("not a run of the workload other", sim, measured, workload=OTHER)


def test_a_profile_that_it_was_not_simulated_with(tmp_path) -> None:
    sim, measured = simulated(tmp_path / "sim"), real(tmp_path / "real")
    refused("the profile given, test, is .*: give the one it was simulated with", sim, measured, profile=with_times(2))
    scaled = real(tmp_path / "scaled")
    told(tmp_path / "scaled", world="simulated", profile=sim.manifest.profile.model_dump(),
         conditions={**scaled.manifest.conditions, "step_times_scaled_by": 1.5})  # fmt: skip
    refused("simulated again, it gives other times", told(tmp_path / "scaled"), measured)


def test_a_closed_loop_needs_its_workload(tmp_path) -> None:
    sim, measured = simulated(tmp_path / "sim", load=PAIR), real(tmp_path / "real", with_times(2), load=PAIR)
    refused("sent when others had ended.*--workload", sim, measured)
    assert explain(sim, [measured], MODEL, builder(), workload=PAIR).num_requests == 2


def test_outputs_that_no_record_knows(tmp_path) -> None:
    """A request that every run refuses has no output to learn its length from."""
    sim = simulated(tmp_path / "sim", spec=EngineSpec("vllm", admission="queue-cap(max_waiting=1)"))
    measured = real(tmp_path / "real", spec=EngineSpec("vllm", admission="queue-cap(max_waiting=1)"))
    refused("finished in neither run.*--workload", sim, measured)
    assert explain(sim, [measured], MODEL, builder(), workload=LOAD).num_requests < len(LOAD.requests)

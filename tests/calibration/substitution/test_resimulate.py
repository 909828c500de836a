"""The two ends of every explanation: with nothing exchanged it is the simulation, with everything the measured run."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.substitution.arrivals import LateSender, delays
from calibration.substitution.explain import explain
from calibration.substitution.factors import Factor
from calibration.substitution.resimulate import Resimulation, recorded
from calibration.substitution.sequence import RecordedSequence
from calibration.substitution.workload import Sent
from records.profile_cost import ProfileCost
from serving.request import Request
from serving.schedule.engine import EngineSpec
from sim.client_clock import Given
from tests.calibration.substitution.runs import LOAD, MODEL, builder, engine, late, real, simulated, with_times
from tests.calibration.substitution.test_injected import NOISY
from workloads.workload import Workload, WorkloadRequest

NOTHING, EVERYTHING = frozenset(), frozenset(Factor)
MS = 1_000_000
SWAPPING = MODEL.model_copy(update={"kv": MODEL.kv.model_copy(update={"host_link_bytes_per_s": 1e8})})
SHARED = Workload(
    "shared",
    tuple(
        WorkloadRequest(f"r{i:02}", i * 15 * MS, 90 + 7 * i, 12, 12, prefix=((f"system {i % 3}", 64),))
        for i in range(60)
    ),
)


def ends(sim, measured, profile=MODEL, **how):
    again = Resimulation(sim, measured, profile, builder(profile), **how)
    for taken, record in ((NOTHING, sim), (EVERYTHING, measured)):
        found, expected = again.run(taken).requests, recorded(record)
        pd.testing.assert_frame_equal(found.loc[expected.index], expected, check_exact=True, check_names=False)
    return again


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"profile": with_times(1.3, 2, 0.5, 7)}),
        ({"profile": NOISY, "noise_seed": 1}, {"profile": NOISY, "noise_seed": 2}),
        ({"spec": engine(num_blocks=100)}, {"spec": engine(num_blocks=90, max_num_seqs=6), "profile": with_times(1.1)}),
        ({"spec": engine(async_scheduling=True)}, {"spec": engine(async_scheduling=True), "profile": with_times(1.2)}),
        ({}, {"spec": engine(async_scheduling=True)}),
        ({"spec": engine(async_scheduling=True)}, {"spec": EngineSpec("orca")}),
        ({"spec": EngineSpec("nano-vllm")}, {"spec": EngineSpec("vllm", "sjf"), "told_by": "max-tokens"}),
        ({"load": SHARED}, {"load": SHARED, "spec": engine(enable_prefix_caching=False)}),
        (
            {"profile": SWAPPING, "spec": engine(num_blocks=90, num_host_blocks=50, preemption="swap")},
            {"profile": SWAPPING, "spec": engine(num_blocks=90)},
        ),
    ],
)
def test_both_ends_are_the_runs_to_the_nanosecond(tmp_path, one, other) -> None:
    ends(simulated(tmp_path / "sim", **one), real(tmp_path / "real", **other), one.get("profile", MODEL))


def test_the_very_batches_lead_to_the_measured_run_too(tmp_path) -> None:
    sim = simulated(tmp_path / "sim")
    for name, spec in (("plain", engine(num_blocks=90, max_num_seqs=6)), ("async", engine(async_scheduling=True))):
        measured = real(tmp_path / name, profile=with_times(1.3, 2, 0.5, 7), spec=spec)
        again = ends(sim, measured, repeat_batches=True)
        assert Factor.BATCH in again.factors
        assert again.run(EVERYTHING).same_batches == 1.0
        assert again.run(frozenset({Factor.BATCH})).same_batches == 1.0


def test_clients_that_wait_wait_in_between_too(tmp_path) -> None:
    """Conversations of three turns, whose prompts repeat what was said."""
    turns = Workload(
        "turns",
        tuple(
            WorkloadRequest(
                f"{session}-{turn}",
                session * 20 * MS if turn == 1 else 0,
                30 * turn,
                8,
                8,
                session_id=f"{session}",
                turn=turn,
                parent=(f"{session}-{turn - 1}",) if turn > 1 else (),
                think_time=5 * MS if turn > 1 else 0,
            )
            for session in range(12)
            for turn in (1, 2, 3)
        ),
    )
    sim, slower = (
        simulated(tmp_path / "sim", load=turns),
        real(tmp_path / "real", with_times(1.4, return_=9), load=turns),
    )
    found = explain(sim, [slower], MODEL, builder(), workload=turns)
    assert all(row.rest == 0 for row in found.rows)
    assert found.row("e2e").part(Factor.STEP) + found.row("e2e").part(Factor.RETURN) > 0.95
    capped = {"load": LOAD, "max_in_flight": 3}
    ends(simulated(tmp_path / "sim3", **capped), real(tmp_path / "real3", with_times(1.2), **capped), workload=LOAD)


def test_what_has_no_effect_has_no_part_in_the_game(tmp_path) -> None:
    sim = simulated(tmp_path / "sim")
    same = Resimulation(sim, real(tmp_path / "real"), MODEL, builder())
    assert same.factors == (Factor.STEP, Factor.HOST, Factor.ARRIVAL, Factor.RETURN)
    pool = Resimulation(sim, real(tmp_path / "pool", spec=engine(num_blocks=90)), MODEL, builder())
    assert pool.factors == (Factor.STEP, Factor.HOST, Factor.STATE, Factor.ARRIVAL, Factor.RETURN)


def test_a_step_of_no_measured_batch_takes_what_its_like_took(tmp_path) -> None:
    """A third longer than predicted is what any step of the measured run took."""
    cost = ProfileCost(MODEL)
    run = Resimulation(
        simulated(tmp_path / "sim"), real(tmp_path / "real", with_times(4 / 3, 2, 3, 5)), MODEL, builder()
    )
    for step, kind in zip(run.steps.features, run.steps.kinds, strict=True):
        larger = step._replace(num_tokens=step.num_tokens + 3, decode_context=step.decode_context + 40)
        times = run.steps.like(larger, 5, 0)
        assert times.execute == pytest.approx(cost.execute_time(larger) * 4 / 3, rel=1e-5), kind
        assert times.schedule == pytest.approx(cost.schedule_time(larger) * 2, rel=1e-5)
        assert times.complete <= cost.complete_time(larger) * 3 + 1
        assert times.return_ == pytest.approx(cost.return_time(larger) * 5, rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=12))
def test_a_late_sender_sends_all_and_each_as_late_as_told(given_times) -> None:
    requests = sorted(
        (Request(f"{i:02}", arrival, (5, 6), 1) for i, (arrival, _) in enumerate(given_times)),
        key=lambda r: (r.arrival_time, r.request_id),
    )
    late_by = {f"{i:02}": delay for i, (_, delay) in enumerate(given_times)}
    sender, sent = LateSender(Given(requests), late_by), {}
    while (at := sender.next_at()) is not None:
        for request in sender.due(at):
            sent[request.request_id] = at
    assert sender.done
    assert sent == {r.request_id: r.arrival_time + late_by[r.request_id] for r in requests}


def test_delays_are_the_least_that_explain_when_the_engine_knew(tmp_path) -> None:
    sim = simulated(tmp_path / "sim")
    assert set(delays(sim).values()) == {0}
    measured = late(tmp_path / "late", sim, lambda i: 7 * MS)
    told = delays(measured)
    assert all(0 <= delay <= 7 * MS for delay in told.values())
    assert max(told.values()) == 7 * MS, "an idle engine takes in at once what reaches it"


def test_a_sequence_waits_for_its_requests(tmp_path) -> None:
    measured = real(tmp_path / "real")
    sequence = RecordedSequence(measured)
    assert sequence.schedule(0).wake_at is None  # Idle: nobody is there
    for request in Sent(measured, measured, None).sender({}).due(10**15):
        sequence.add(request, 0)
        assert sequence.has_work
        break
    plan = sequence.schedule(0)
    assert plan.step_id == 0
    assert sequence.snapshot().num_running == 1

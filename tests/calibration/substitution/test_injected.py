"""A discrepancy that was injected is named, with its size; shares are exact; noise is told apart."""

import pytest

from calibration.substitution.causes import causes, verdict
from calibration.substitution.explain import explain
from calibration.substitution.explanation import MEASURES, PARTS
from calibration.substitution.factors import Factor
from records.profile import RESIDUAL_SHARES, ResidualNoise
from serving.schedule.engine import EngineSpec
from tests.calibration.substitution.runs import MODEL, builder, engine, late, real, simulated, told, with_times
from workloads.synthesize import synthesize

MS = 1_000_000
SPARSE = synthesize(name="sparse", rate=4.0, num_requests=40, seed=3, scale=0.05)
SLEEPY = MODEL.model_copy(update={"wake_ms": 5.0})
TIGHT = engine(num_blocks=180)
SCATTER = ResidualNoise(
    steps=100,
    relative_std=0.05,
    relative_p50_abs=0.02,
    relative_p90_abs=0.08,
    quantiles=tuple(0.1 * (2 * share - 1) for share in RESIDUAL_SHARES),
)
NOISY = MODEL.model_copy(update={"residual": dict.fromkeys(("mixed", "decode", "prefill"), SCATTER)})


def explained(sim, *reals, profile=MODEL, **how):
    found = explain(sim, reals, profile, builder(), **how)
    for row in found.rows:  # whatever was injected
        assert row.error == sum(share.seconds for share in row.shares.values()) + row.rest
    whole = found.row("ttft")
    for factor in Factor:  # the parts of TTFT add up, so do the shares
        parts = sum(float(found.row(*part).shares[factor].seconds) for part in PARTS)
        assert float(whole.shares[factor].seconds) == pytest.approx(parts, abs=1e-12)
    return found


@pytest.mark.parametrize(
    ("factor", "sim", "injected", "words"),
    [
        (Factor.STEP, {}, {"profile": with_times(execute=1.2)}, "decode 20% longer"),
        (Factor.STEP, {}, {"profile": with_times(execute=0.8)}, "decode 20% less"),
        (Factor.HOST, {}, {"profile": with_times(schedule=6, complete=6)}, "To schedule, prepare and complete a step"),
        (Factor.STATE, {"spec": TIGHT}, {"spec": engine(num_blocks=90)}, "--num-blocks 90"),
        (Factor.STATE, {"spec": TIGHT}, {"spec": engine(num_blocks=180, block_size=32)}, "--block-size 32"),
        (Factor.BATCH, {}, {"spec": engine(long_prefill_token_threshold=32)}, "--long-prefill-token-threshold 32"),
        (Factor.BATCH, {}, {"spec": EngineSpec("nano-vllm")}, "--preset nano-vllm"),
        (Factor.BATCH, {}, {"spec": engine(max_num_seqs=2)}, "--max-num-seqs 2"),
        (Factor.RETURN, {}, {"profile": with_times(return_=50)}, "Tokens take 10 ms"),
        (Factor.ARRIVAL, {"load": SPARSE}, {"load": SPARSE, "profile": SLEEPY}, "what an idle engine takes to wake up"),
    ],
)
def test_one_discrepancy_is_named_and_has_the_whole_difference(tmp_path, factor, sim, injected, words) -> None:
    found = explained(simulated(tmp_path / "sim", **sim), real(tmp_path / "real", **injected))
    named = causes(found, MODEL)
    assert named[0].factor == factor
    assert words in named[0].text
    ttft, e2e = found.row("ttft"), found.row("e2e")
    assert abs(ttft.error / ttft.measured) > 0.01
    assert ttft.part(factor) > 0.9
    assert e2e.part(factor) > 0.9
    assert all(row.rest == 0 for row in found.rows), "everything as measured is the measured run"
    assert found.same_batches == 1.0
    assert factor.label in verdict(found, named)


def test_a_late_load_generator_is_named(tmp_path) -> None:
    sim = simulated(tmp_path / "sim")
    found = explained(sim, late(tmp_path / "real", sim, lambda i: (i % 4) * 10 * MS))
    ttft = found.row("ttft")
    assert causes(found, MODEL)[0].factor == Factor.ARRIVAL
    assert ttft.part(Factor.ARRIVAL) > 0.9
    assert abs(ttft.rest / ttft.measured) < 1e-3


def test_a_chunk_rule_that_the_manifest_conceals_is_named(tmp_path) -> None:
    """The log does not replay by the rules the manifest tells, so the very batches are taken."""
    sim = simulated(tmp_path / "sim")
    real(tmp_path / "real", spec=engine(long_prefill_token_threshold=32))
    lying = told(tmp_path / "real", engine=sim.manifest.engine.model_dump())
    found = explained(sim, lying)
    named = causes(found, MODEL)
    assert named[0].factor == Factor.BATCH
    assert "does not decide by the rules of its manifest (step " in named[0].text
    assert found.row("ttft").part(Factor.BATCH) > 0.9
    assert all(row.rest == 0 for row in found.rows)


def test_a_pool_that_the_manifest_conceals_is_seen_in_the_steps(tmp_path) -> None:
    sim = simulated(tmp_path / "sim", spec=TIGHT)
    real(tmp_path / "real", spec=engine(num_blocks=90))
    found = explained(sim, told(tmp_path / "real", engine=sim.manifest.engine.model_dump()))
    assert found.resimulations[0].factors == tuple(f for f in Factor if f != Factor.BATCH)
    assert found.row("ttft").part(Factor.STATE) > 0.9


def test_two_discrepancies_each_get_their_own(tmp_path) -> None:
    """The way back changes nothing in the engine, so its share is what was injected."""
    sim = simulated(tmp_path / "sim")
    found = explained(sim, real(tmp_path / "real", profile=with_times(execute=1.2, return_=30)))
    ttft = found.row("ttft")
    assert float(ttft.shares[Factor.RETURN].seconds) == pytest.approx(-29 * 0.2e-3)
    slower = explained(sim, real(tmp_path / "slower", profile=with_times(execute=1.2))).row("ttft")
    assert float(ttft.shares[Factor.STEP].seconds) == pytest.approx(float(slower.error), rel=0.02)
    assert {cause.factor for cause in causes(found, MODEL)} == {Factor.STEP, Factor.RETURN}


def test_alone_and_last_agree_where_parts_do_not_interact(tmp_path) -> None:
    found = explained(simulated(tmp_path / "sim"), real(tmp_path / "real", profile=with_times(return_=50)))
    share = found.row("ttft").shares[Factor.RETURN]
    assert share.alone == pytest.approx(share.seconds)
    assert share.last == pytest.approx(share.seconds)
    assert share.noise is None


def test_noise_of_the_repeats_is_told_from_a_wrong_step_model(tmp_path) -> None:
    slow = NOISY.with_durations([NOISY.execute.times(1.2), *NOISY.durations[1:]])
    sim = simulated(tmp_path / "sim", NOISY)
    reals = [real(tmp_path / f"real-{seed}", slow, noise_seed=seed) for seed in (1, 2, 3)]
    found = explained(sim, *reals, profile=NOISY)
    ttft = found.row("ttft")
    assert not ttft.inside_noise
    assert causes(found, NOISY)[0].factor == Factor.STEP
    share = ttft.shares[Factor.STEP]
    assert 0 < share.noise < -share.seconds
    own = [real(tmp_path / f"own-{seed}", NOISY, noise_seed=seed) for seed in (1, 2, 3, 4)]
    found = explained(simulated(tmp_path / "noisy", NOISY, noise_seed=1), *own, profile=NOISY)
    assert causes(found, NOISY) == []
    assert "inside the noise" in verdict(found, [])


def test_a_machine_that_has_become_slower_is_said(tmp_path) -> None:
    sim = simulated(tmp_path / "sim")
    real(tmp_path / "real", profile=MODEL.times(1.3))
    conditions = {**sim.manifest.conditions, "probe_ms": 13.0}
    found = explained(sim, told(tmp_path / "real", conditions=conditions))
    assert "1.30 times as long as at calibration: simulate with --speed-of" in causes(found, MODEL)[0].text


def test_steps_beyond_the_calibrated_batches_are_said(tmp_path) -> None:
    narrow = MODEL.model_copy(update={"hull": {"num_seqs": (1, 2)}})
    sim = simulated(tmp_path / "sim", narrow)
    found = explained(sim, real(tmp_path / "real", profile=with_times(execute=1.2)), profile=narrow)
    assert "lies outside the batches of the calibration (num_seqs)" in causes(found, narrow)[0].text


def test_every_measure_is_there(tmp_path) -> None:
    found = explained(simulated(tmp_path / "sim"), real(tmp_path / "real"))
    assert [row.measure for row in found.rows] == list(MEASURES)
    assert all(row.error == 0 for row in found.rows)
    assert causes(found, MODEL) == []
    assert "Nothing to fix" in verdict(found, [])

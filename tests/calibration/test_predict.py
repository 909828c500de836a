"""Predictions from inputs alone: what a run's folder says is obeyed, and what it lacks is told."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from calibration.kernel_profile.lockstep import in_lockstep
from calibration.predict import predict, read_runs
from lab.cli import run
from records.profile import RESIDUAL_SHARES, Profile, ResidualNoise, write_profile
from serving.errors import MeasurementError
from serving.schedule.engine import EngineSpec
from tests.records.test_profile import PROFILE, terms

ENGINE = EngineSpec("vllm")
COST = {
    "execute": terms(("one", 0, None, 2.0), ("num_tokens", 0, None, 0.02), ("num_seqs", 0, None, 0.3)),
    "return_": terms(("one", 0, None, 5.0)),
    "hull": {},
    "kv": PROFILE.kv.model_copy(update={"num_blocks": 600}),
}
FITTED = PROFILE.model_copy(update=COST)
PRICES = [t.coefficient_ms for duration in FITTED.durations for t in duration.every_term()]
DRAWS = tuple(tuple(price * factor for price in PRICES) for factor in (0.9, 1.0, 1.1))


def profile() -> Profile:
    return FITTED.model_copy(update={"draws": DRAWS})


def a_run(place: Path, config: dict | None = None, rows: str = "", header: str = "") -> Path:
    place.mkdir(parents=True)
    lines = rows or "\n".join(f"r{i},{i * 0.01:g},64,8" for i in range(40))
    text = f"{header or 'req_id,arrival_s,prompt_tokens,output_tokens'}\n{lines}\n"
    (place / "workload.csv.gz").write_bytes(gzip.compress(text.encode()))
    if config is not None:
        (place / "config.json").write_text(json.dumps(config))
    return place


def test_a_row_a_run_and_metric_with_intervals_from_the_draws(tmp_path: Path) -> None:
    a_run(tmp_path / "b", {"max_num_seqs": 64})
    a_run(tmp_path / "a", {"clock": "engine-side"})
    told = predict(profile(), read_runs(tmp_path), ENGINE)
    assert list(told["run"]) == ["a"] * 5 + ["b"] * 3
    assert list(told["metric"][:5]) == ["ttft", "tpot", "e2e", "queue", "sched_to_first"]
    assert (told["n"] == 40).all()
    waited = told[told["mean"] > 0]  # nobody waits in the engine here, once it has taken a request in
    assert list(told.loc[told["mean"] == 0, "metric"]) == ["queue"]
    assert (waited["lo"] < waited["mean"]).all()
    assert (waited["mean"] < waited["hi"]).all()
    assert (told["p50"] <= told["p90"]).all()
    mean = told.set_index(["run", "metric"])["mean"]
    assert mean["b", "ttft"] - mean["a", "ttft"] > 0.005, "the engine's clock leaves the way there and back out"
    assert mean["a", "queue"] + mean["a", "sched_to_first"] == pytest.approx(mean["a", "ttft"])
    without = predict(FITTED, read_runs(tmp_path), ENGINE)
    assert without["lo"].isna().all()
    assert without["mean"].to_numpy() == pytest.approx(told["mean"].to_numpy())


def test_the_engines_clock_begins_when_it_takes_a_request_in(tmp_path: Path) -> None:
    """As its own instants say, which replicas in lockstep list; up to a step after the arrival."""
    inputs = read_runs(a_run(tmp_path / "own", {"clock": "engine"}))
    assert FITTED.engine is None
    told = predict(FITTED, inputs, ENGINE).set_index("metric")["mean"]
    pool = {"num_blocks": FITTED.kv.num_blocks, "block_size": FITTED.kv.block_size}
    alone = in_lockstep(FITTED, inputs[0].workload, EngineSpec("vllm", settings=pool), 1)
    assert told["ttft"] == pytest.approx((alone["first_s"] - alone["queued_s"]).mean())
    assert told["e2e"] == pytest.approx((alone["last_s"] - alone["queued_s"]).mean())
    assert told["queue"] == pytest.approx((alone["scheduled_s"] - alone["queued_s"]).mean())
    arrived = sum(r.arrival_time for r in inputs[0].workload.requests) / 40 / 1e9
    assert alone["queued_s"].mean() > arrived + 0.0005


def test_step_noise_widens_the_interval(tmp_path: Path) -> None:
    inputs = read_runs(a_run(tmp_path / "run"))
    noisy = PROFILE.residual | {
        "decode": ResidualNoise(
            steps=99,
            relative_std=0.3,
            relative_p50_abs=0.2,
            relative_p90_abs=0.5,
            quantiles=tuple(np.linspace(-0.5, 0.5, len(RESIDUAL_SHARES)).tolist()),
        )
    }
    width = {}
    for name, made in (("none", FITTED), ("noise", FITTED.model_copy(update={"residual": noisy}))):
        row = predict(made, inputs, ENGINE).set_index("metric").loc["e2e"]
        width[name] = row["hi"] - row["lo"]
    assert np.isnan(width["none"])
    assert width["noise"] > 0


def test_one_block_of_the_pool_is_vllms_own(tmp_path: Path) -> None:
    """A request that needs the whole pool but one block is served, one that needs all of it is refused."""
    config = {"kv_cache": {"num_gpu_blocks": 6, "block_size": 16}}
    fits = read_runs(a_run(tmp_path / "fits", config, rows="r0,0,70,11"))
    predict(FITTED, fits, ENGINE)
    with pytest.raises(MeasurementError, match="pool has 5"):
        predict(FITTED, read_runs(a_run(tmp_path / "not", config, rows="r0,0,70,12")), ENGINE)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "other/Mistral-7B"}, "a run of other/Mistral-7B"),
        ({"engine_kwargs": {"model": "x/Llama-3.1-80B"}}, "a run of x/Llama-3.1-80B"),
        ({"engine_kwargs": {"tensor_parallel_size": 4}}, "tensor_parallel_size is 4"),
        ({"model": "somebody/llama-3.1-8b-Instruct", "tensor_parallel_size": 2}, None),
        ({}, None),
    ],
)
def test_a_run_of_another_engine_is_refused(tmp_path: Path, config: dict, words: str | None) -> None:
    made = FITTED.model_copy(update={"model": {"name": "meta-llama/Llama-3.1-8B"}, "hardware": {"count": 2}})
    inputs = read_runs(a_run(tmp_path / "run", config))
    if words is None:
        predict(made, inputs, ENGINE)
        return
    with pytest.raises(MeasurementError, match=words):
        predict(made, inputs, ENGINE)


def test_seats_and_the_cap_of_the_client_are_obeyed(tmp_path: Path) -> None:
    for name, config in (
        ("free", {}),
        ("seats", {"server": {"max_num_seqs": 2}}),
        ("cap", {"client_inflight_cap": 2}),
    ):
        a_run(tmp_path / name, config)
    mean = predict(FITTED, read_runs(tmp_path), ENGINE).set_index(["run", "metric"])["mean"]
    assert mean["seats", "ttft"] > 2 * mean["free", "ttft"], "two seats: the others wait in the engine"
    assert mean["cap", "ttft"] < mean["free", "ttft"], "a request that its client holds back has not arrived"


def test_replicas_in_lockstep_serve_every_request(tmp_path: Path) -> None:
    a_run(tmp_path / "two", {"clock": "engine", "engine_kwargs": {"data_parallel_size": 2}})
    told = predict(profile(), read_runs(tmp_path), ENGINE)
    assert (told["n"] == 40).all()
    a_run(tmp_path / "client", {"engine_kwargs": {"data_parallel_size": 2}})
    with pytest.raises(MeasurementError, match="engine's clock"):
        predict(profile(), read_runs(tmp_path / "client"), ENGINE)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"header": "req_id,arrival_s,prompt_tokens"}, "lacks output_tokens"),
        ({"rows": "r0,0,64,8\nr1,x,64,8"}, "line 3"),
        ({"rows": "r0,0,64,0"}, "line 2"),
        ({"rows": "r0,0,64,8\nr0,1,64,8"}, "r0"),
        ({"rows": "r0,0,640,9", "config": {"server": {"max_model_len": 100}}}, "r0"),
    ],
)
def test_what_is_wrong_with_a_run_is_told(tmp_path: Path, more: dict, words: str) -> None:
    a_run(tmp_path / "bad", **more)
    with pytest.raises(MeasurementError, match=words):
        predict(FITTED, read_runs(tmp_path), ENGINE)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_profile(Path("p.json"), profile())
    a_run(Path("runs/one"))
    line = ["predict", "runs", "--profile", "p.json", "--out", "told.csv"]
    assert run(line) == 0
    first = Path("told.csv").read_bytes()
    assert first.startswith(b"run,metric,n,mean,p50,p90,p99,lo,hi\none,ttft,40,")
    assert run(line) == 2
    assert "--force" in capsys.readouterr().err
    assert run([*line, "--force", "--json"]) == 0
    assert Path("told.csv").read_bytes() == first
    assert [row["metric"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["ttft", "tpot", "e2e"]
    for wrong, words in (("nowhere", "no such folder"), (".", "neither it nor a folder in it")):
        assert run(["predict", wrong, "--profile", "p.json", "--out", "x.csv"]) == 2
        assert words in capsys.readouterr().err
        assert not Path("x.csv").exists()

"""Faults that were put in are named first; where there is none, that is said; and the verdict holds under renaming."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from calibration.shipped import find_profile
from lab.cli import run
from lab.counterfactual.again import Again
from lab.counterfactual.changes import EvenArrivals
from lab.diagnose.against import against
from lab.diagnose.causes import CAUSES, applicable
from lab.diagnose.diagnose import Diagnosis, diagnose
from lab.diagnose.examples import EXAMPLES, make
from lab.diagnose.weigh import weigh
from lab.runs import simulate_run
from records.profile import Profile
from serving.schedule.engine import EngineSpec
from tests.records.test_profile import terms
from workloads.synthesize import synthesize
from workloads.workload import Workload, WorkloadRequest

RTX = "rtx4090-llama-3.1-8b-vllm"
ENGINE: Mapping[str, object] = {"max_model_len": 16384, "max_num_seqs": 64, "max_num_batched_tokens": 2048}


@cache
def profile() -> Profile:
    return find_profile(Path(RTX))


def drawn(rate: float = 1.5, requests: int = 70, arrivals: str = "poisson", lengths: str = "azure-conv") -> Workload:
    return synthesize(name="drawn", rate=rate, num_requests=requests, seed=3, arrivals=arrivals, lengths=lengths)


def ran(
    folder: Path, load: Workload, costs: Profile | None = None, spec: EngineSpec | None = None, **settings
) -> Again:
    costs = costs or profile()
    spec = spec or EngineSpec("vllm", settings={**ENGINE, **settings})
    folder.mkdir(exist_ok=True)
    return Again.of(simulate_run(folder / "run", load, costs, spec), costs, load)


def diagnosed(*args, **settings) -> Diagnosis:
    return diagnose(ran(*args, **settings))


def test_a_healthy_run_is_called_so(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, drawn(rate=0.4))
    assert found.is_healthy
    assert not found.statements


def test_half_of_the_kv_pool(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, drawn(rate=1.6), num_blocks=700)
    assert found.tail.name == "KV"
    (told,) = [s for s in found.statements if s.knob.startswith("num-blocks")]
    assert told.reached
    assert told.after < told.before
    assert found.seen.wait is not None
    assert found.seen.wait.kv_ready < 0.3


def test_few_seats(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, drawn(rate=1.2), max_num_seqs=4)
    assert found.mean.name == found.tail.name == "seats"
    assert found.seen.wait is not None
    assert found.seen.wait.running == 4


def test_a_tiny_token_budget(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, drawn(rate=0.8), max_num_batched_tokens=64, max_num_seqs=64)
    assert found.mean.name == "chunking"
    assert found.statements[0].knob.startswith("max-num-batched-tokens")


def test_steps_that_take_twice_as_long(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, drawn(rate=4.0), profile().times(2.0), num_blocks=20_000, max_num_seqs=256)
    assert found.mean.name == "step time"
    assert any(s.knob.startswith("steps") for s in found.statements)


@pytest.mark.parametrize(("duration", "name"), [("schedule", "overhead"), ("return_", "return")])
def test_an_engine_with_a_slow_part(tmp_path: Path, duration: str, name: str) -> None:
    costs = profile()
    slow = costs.model_copy(update={duration: terms(("one", 0, None, 400.0))})
    found = diagnosed(tmp_path, drawn(rate=0.3, requests=60), slow)
    assert found.mean.name == name


def test_a_reservation_that_nobody_uses(tmp_path: Path) -> None:
    patient = drawn(rate=2.0)
    load = Workload("patient", tuple(replace(r, max_tokens=4096) for r in patient.requests))
    found = diagnosed(tmp_path, load, None, EngineSpec("vllm", reservation="max-length", settings=ENGINE))
    assert found.mean.name == "reservation"
    assert found.statements[0].knob == "reservation=none"
    assert found.seen.wait is not None
    assert found.seen.wait.kv_unused > 0.4


def test_one_tenants_burst(tmp_path: Path) -> None:
    steady = drawn(rate=0.5, requests=60)
    many = [WorkloadRequest(f"b{i:02}", 40_000_000_000 + i, 900, 60, 60, tenant="loud") for i in range(60)]
    load = Workload("burst", tuple(sorted([*steady.requests, *many], key=lambda r: (r.arrival_time, r.request_id))))
    found = diagnosed(tmp_path, load)
    assert found.mean.name == "burst"
    assert found.mean.cause is not None
    assert found.mean.cause.group == "queue"
    assert found.statements[0].knob == "arrivals=even"
    assert found.statements[0].reached


def test_long_prompts_in_front_of_short_ones(tmp_path: Path) -> None:
    """Evenly spaced: six prompts of 8,000 tokens, and 34 short ones who each wait for all of them."""
    requests = tuple(
        WorkloadRequest(f"r{i:03}", i * 200_000_000, 30 if i % 40 >= 6 else 8_000, 2, 2) for i in range(80)
    )
    found = diagnosed(tmp_path, Workload("behind", requests))
    assert found.mean.name == "order"
    assert found.statements[0].knob == 'policy=sjf(by="prompt")'
    assert found.statements[0].figure == "mean"


def test_prefixes_in_turn_on_a_pool_that_holds_a_third_of_them(tmp_path: Path) -> None:
    """Each is evicted before its next turn. More KV would mend it, and so would a perfect cache: it has one cause."""
    shared = tuple(
        WorkloadRequest(f"r{i:02}", i * 900_000_000, 3100, 4, 4, prefix=((f"document {i % 12}", 3000),))
        for i in range(48)
    )
    again = ran(tmp_path, Workload("thrash", shared), num_blocks=800)
    found = diagnose(again)
    assert found.seen.cached == 0
    assert found.mean.name == "eviction"
    assert not found.mean.rivals
    told = found.statements[0]
    assert told.knob == "num-blocks=x3"
    assert told.after < 0.5 * told.before
    weights = {weight.cause.name: weight.shapley for weight in found.weights.of(range(len(found.weights.ids)))}
    assert weights.get("KV", 0.0) < 0.01 * weights["eviction"]


def test_a_prefix_cache_that_is_off(tmp_path: Path) -> None:
    shared = tuple(
        WorkloadRequest(f"r{i:02}", i * 900_000_000, 3100, 4, 4, prefix=(("system", 3000),)) for i in range(60)
    )
    found = diagnosed(tmp_path, Workload("shared", shared), enable_prefix_caching=False)
    assert found.mean.name == "prefix"
    assert found.statements[0].knob == "prefix-cache=on"
    assert found.seen.cached == 0


def test_shares_and_own_prefill_add_up_to_ttft(tmp_path: Path) -> None:
    weights = weigh(ran(tmp_path, drawn(rate=1.6), num_blocks=900, max_num_seqs=12))
    assert len(weights.shares) >= 4
    assert weights.is_estimate == (len(weights.shares) > 6), "step time is what is left, and in no order"
    assert np.allclose(sum(weights.shares.values()) + weights.own, weights.ttft, atol=1e-9)


def test_other_names_and_a_second_time_give_the_same_verdict(tmp_path: Path) -> None:
    load = drawn(rate=1.6, requests=18)
    renamed = Workload("renamed", tuple(replace(r, request_id=f"x{i:03}") for i, r in enumerate(load.requests)))
    first = diagnosed(tmp_path / "a", load, num_blocks=500)
    again = diagnosed(tmp_path / "b", load, num_blocks=500)
    other = diagnosed(tmp_path / "c", renamed, num_blocks=500)
    for found in (again, other):
        assert (found.mean.name, found.tail.name) == (first.mean.name, first.tail.name)
        assert found.mean.seconds == first.mean.seconds
        assert [s.verdict.name for s in found.slow] == [s.verdict.name for s in first.slow]
    assert [int(s.request_id[1:]) for s in other.slow] == [int(s.request_id.split("-")[1]) for s in first.slow]


def test_what_an_engine_has_not_is_no_cause_of_it(tmp_path: Path) -> None:
    again = ran(tmp_path, drawn(requests=10))
    names = {cause.name for cause in applicable(again.setup)}
    assert {"burst", "order", "overhead"} <= names <= {cause.name for cause in CAUSES}
    assert "KV" not in names, "ten requests never fill the pool, whatever they are"
    even = EvenArrivals().apply(again.setup).workload
    gaps = np.diff([r.arrival_time for r in even.requests])
    assert gaps.max() - gaps.min() <= 1


EXPECTED = {
    "evening-peak": ("burst", "queue"),
    "short-of-memory": ("KV", "state"),
    "idle-memory": ("reservation", "state"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == "short-of-memory" else []) for name in EXPECTED]
)
def test_the_symptoms_that_come_along_are_diagnosed_right(name: str, tmp_path: Path) -> None:
    (record,) = make(name, tmp_path)
    found = diagnose(Again.of(record))
    assert found.mean.cause is not None
    assert (found.mean.name, found.mean.cause.group) == EXPECTED[name]
    assert any(s.reached for s in found.statements)


def test_two_parts_that_were_changed_share_the_difference(tmp_path: Path) -> None:
    """Shapley's values of two, by hand: each the mean of what it does alone and what it does after the other."""
    load = drawn(requests=40)
    seats, blocks = {"max_num_seqs": 4}, {"num_blocks": 500}
    both = seats | blocks
    mean = {
        name: float(ran(tmp_path / name, load, **settings).baseline.finished["ttft"].mean())
        for name, settings in {"none": {}, "limits": seats, "KV": blocks, "both": both}.items()
    }
    found = against(ran(tmp_path / "a", load), ran(tmp_path / "b", load, **both))
    shares = found.figures["TTFT mean"][2]
    limits = (mean["limits"] - mean["none"] + mean["both"] - mean["KV"]) / 2
    assert shares == pytest.approx({"limits": limits, "KV": mean["both"] - mean["none"] - limits})


def test_another_runtime_differs_by_its_rules(tmp_path: Path) -> None:
    this, other = (Again.of(record) for record in make("other-runtime", tmp_path))
    found = against(this, other)
    assert found.dominant("TPOT mean") == "rules"
    for before, after, shares in found.figures.values():
        assert sum(shares.values()) == pytest.approx(after - before, abs=1e-12)
    back = against(other, this)
    assert back.figures["TTFT mean"][:2] == pytest.approx(found.figures["TTFT mean"][1::-1])


def test_the_part_that_was_changed_has_the_whole_difference(tmp_path: Path) -> None:
    load = drawn(requests=60)
    a = ran(tmp_path / "a", load)
    for place, part, settings in (("b", "limits", {"max_num_seqs": 3}), ("c", "KV", {"num_blocks": 700})):
        found = against(a, ran(tmp_path / place, load, **settings))
        assert list(found.parts) == [part]
        before, after, shares = found.figures["TTFT mean"]
        assert shares[part] == pytest.approx(after - before)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(tmp_path, drawn(rate=1.6, requests=45), num_blocks=500)
    run_ = str(tmp_path / "run")
    assert run(["diagnose", run_]) == 0
    told = capsys.readouterr().out
    assert "In the slowest hundredth: KV (state)" in told
    assert f"servetwin whatif {run_} --set num-blocks=x" in told
    assert run(["diagnose", run_, "--slow", "0.2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(one["ttft"] > 0.2 for one in found["slow"]["requests"])
    command = found["statements"][0]["command"].split()
    assert run([*command[1:], "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert tried["changes"] == [found["statements"][0]["knob"]]


def test_examples_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == {*EXPECTED, "other-runtime"}
    assert run(["diagnose", "--example", "other-runtime", "--out", str(tmp_path / "kept")]) == 0
    assert "most of the difference is of rules" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["other-runtime", "other-runtime-other"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a run, or --example"),
        (["nowhere"], "no such folder"),
        (["--example", "evening"], "evening-peak"),
        (["run", "--out", "x"], "--out has no effect"),
        (["--example", "idle-memory", "--against", "run"], "no effect beside --example"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", *words]) == 2
    assert said in capsys.readouterr().err

"""servetwin whatif as a person drives it."""

import json
from pathlib import Path

import pytest

from lab.cli import run
from records.laws import check_laws
from records.run import read_run
from workloads.synthesize import synthesize

PROFILE = "rtx4090-llama-3.1-8b-vllm"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 requests whose KV does not fit at once, and a profile that has noise and draws."""
    folder = tmp_path_factory.mktemp("whatif")
    load = synthesize(name="w", rate=20, num_requests=60, seed=5, scale=0.1)
    (folder / "w.jsonl").write_bytes(load.to_jsonl())
    simulate = ["simulate", "--workload", str(folder / "w.jsonl"), "--profile", PROFILE, "--num-blocks", "80"]
    simulate += ["--max-model-len", "1200"]
    assert run([*simulate, "--out", str(folder / "sim"), "--noise-seed", "7"]) == 0
    assert run([*simulate, "--out", str(folder / "fleet"), "--replicas", "2"]) == 0
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(made)
    capsys.readouterr()
    return made


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["whatif", "sim", *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_more_kv_helps_those_who_wait(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whatif", "sim", "--set", "num-blocks=x1.5", "--repeats", "3"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("With num_blocks times 1.5: mean TTFT ")
    assert "every part of all 60 requests equal, bit for bit" in text
    assert "over 3 pairs under common chance" in text
    assert "First token sooner, the most first" in text


def test_the_same_command_says_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--set", "decode=x0.5", "--set", "rate=x2", "--repeats", "2")
    first = told(capsys, *arguments)
    assert told(capsys, *arguments) == first
    assert first["changes"] == ["decode=x0.5", "rate=x2"]
    assert first["unit"] == "seconds"


def test_measures_are_those_of_the_records(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--set", "policy=sjf", "--requests", "--out", "sjf")
    before, after = (read_run(here / name).requests.set_index("request_id") for name in ("sim", "sjf"))
    means = {m["metric"]: m for m in found["measures"] if m["statistic"] == "mean"}  # type: ignore[attr-defined]
    assert means["ttft"]["before"] == pytest.approx(before["ttft_s"].mean())
    assert means["ttft"]["after"] == pytest.approx(after["ttft_s"].mean())
    every = found["every_request"]
    assert list(every) == list(before.index)  # type: ignore[call-overload]
    for request_id, change in every.items():  # type: ignore[attr-defined]
        assert change["queue"] == pytest.approx(after["queue_s"][request_id] - before["queue_s"][request_id])
    record = read_run(here / "sjf")
    assert all(law.holds for law in check_laws(record))
    assert record.manifest.engine.policy == "sjf"
    assert record.manifest.seed == 7


def test_a_change_of_a_changed_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whatif", "sim", "--set", "steps=x2", "--out", "slow", "--repeats", "1"]) == 0
    capsys.readouterr()
    assert run(["whatif", "slow", "--set", "steps=x0.5", "--json", "--repeats", "1"]) == 0
    back = json.loads(capsys.readouterr().out)
    there = told(capsys, "--set", "steps=x2", "--repeats", "1")
    means = [next(m for m in found["measures"] if m["metric"] == "e2e") for found in (there, back)]  # type: ignore[attr-defined]
    assert (means[0]["before"], means[0]["after"]) == (means[1]["after"], means[1]["before"])


def test_one_decision_taken_otherwise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5-57 was passed over before there was room for it, and then in step 142, where there was."""
    found = told(capsys, "--at", "5-57", "--requests", "--out", "first")
    decision = found["decision"]
    assert decision["instead"] == "it is tried first in this step"  # type: ignore[index]
    assert found["every_request"]["5-57"]["queue"] < 0  # type: ignore[index]
    record = read_run(here / "first")
    steps, others = read_run(here / "sim").steps, record.steps
    place = int((steps["step_id"] < decision["step"]).sum())  # type: ignore[index]
    assert (steps["launch_s"][:place] == others["launch_s"][:place]).all()
    first = record.requests["request_id"][others["admitted"][place][0]]
    assert first == "5-57"
    assert run(["whatif", "first", "--set", "steps=x2"]) == 2
    assert "one decision was forced (first" in capsys.readouterr().err


def test_a_request_that_finds_no_room_even_as_the_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--at", "5-59", "--take", "first")
    assert "is not admitted all the same" in found["told"]  # type: ignore[operator]


def test_a_request_turned_away(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request_id = str(read_run(here / "sim").requests["request_id"][3])
    found = told(capsys, "--at", request_id, "--take", "reject")
    assert found["ended_otherwise"] == {request_id: ["finished", "rejected"]}
    assert found["requests"] == 59


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sim"], "one of the two"),
        (["sim", "--set", "num-blocks=x2", "--at", "a"], "one of the two"),
        (["sim", "--set", "num-bloks=x2"], "did you mean num-blocks?"),
        (["sim", "--set", "num-blocks=80"], "the run has it so"),
        (["sim", "--set", "return=x2"], "changes nothing in this run"),
        (["sim", "--set", "num-blocks=x2", "--take", "first"], "no effect without --at"),
        (["sim", "--at", "nobody"], "did you mean"),
        (["sim", "--at", "5-00", "--repeats", "2"], "no effect beside --at"),
        (["sim", "--at", "5-00", "--take", "lst"], "did you mean last?"),
        (["sim", "--at", "5-00", "--take", "keep"], "steps in which it is: none"),
        (["sim", "--at", "5-00", "--take", "reject", "--step", "1"], "no effect beside --take reject"),
        (["sim", "--set", "num-blocks=x2", "--force"], "no effect without --out"),
        (["sim", "--set", "num-blocks=x2", "--out", "sim"], "is not empty"),
        (["sim", "--set", "num-blocks=x0.01"], "KV blocks"),
        (["fleet", "--set", "num-blocks=x2"], "a run of a fleet"),
        (["nothing", "--set", "num-blocks=x2"], "nothing"),
        (["sim", "--set", "gpu=h100-qwen3-14b-vllm", "--repeats", "2"], "no quantiles"),
    ],
)
def test_wrong_use_says_what_to_do(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["whatif", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_help_shows_units_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    run(["whatif", "--help"])
    text = capsys.readouterr().out
    assert "milliseconds" in text
    assert "servetwin whatif sim/ --set num-blocks=x1.3" in text

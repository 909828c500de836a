"""A check from a sweep's standing to its verdict, on the real engine here and on servers."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.machine import hardware
from lab.cli import run
from lab.hardware_check.check import Asked, check_sweep
from lab.hardware_check.client.record import read_client_run
from lab.hardware_check.contest import Standing
from lab.hardware_check.here import Here
from lab.hardware_check.plan import FIDELITY, MANIFEST, REPORT
from records.run import read_run
from serving.errors import BlockedError, ConfigError, RecordError
from tests.clients.process import serving
from tests.lab.hardware_check.made import flat_profile, standing

pytest.importorskip("torch")
pytest.importorskip("httpx")
LOAD = {"requests": 12, "rate": 60.0, "lengths": "constant(prompt=48, output=32)"}
"""More than one seat serves, and less than many do, on any processor of today."""


def of_15m(folder: Path, **load: object) -> Standing:
    from realexec.shapes import shape

    flat_profile(folder / "profile.json", shape("15m").identity(), hardware(), step_ms=2.0)
    return standing(folder, **{**LOAD, **load})


def turned(found: Standing) -> Standing:
    """A sweep that is wrong: its last comes first."""
    return replace(found, ranked=tuple(reversed(found.ranked)))


def whole(folder: Path) -> None:
    """Every file that the manifest names is as it says."""
    from hashlib import sha256

    told = json.loads((folder / MANIFEST).read_bytes())["files"]
    assert {FIDELITY, REPORT} < set(told)
    for name, digest in told.items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_real_engine_says_who_won_and_an_interrupted_check_goes_on(tmp_path: Path, monkeypatch) -> None:
    found, out = of_15m(tmp_path), tmp_path / "check"
    asked = Asked(top=2, repeats=3, worst=True, out=out)
    really_run, begun = Here.run, []

    def interrupted(self: Here, *what: object) -> object:
        begun.append(what)
        if len(begun) == 5:
            raise KeyboardInterrupt
        return really_run(self, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(Here, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_sweep(found, asked)
    monkeypatch.setattr(Here, "run", really_run)
    first = {place.name: (place / "manifest.json").read_bytes() for place in out.glob("real-*")}
    assert len(first) == 4
    assert not (out / MANIFEST).exists()

    checked = check_sweep(found, asked)
    assert {name: (out / name / "manifest.json").read_bytes() for name in first} == first, "a real run is precious"
    assert len(list(out.glob("real-*"))) == len(list(out.glob("sim-*"))) == 9
    whole(out)
    fidelity = checked.fidelities[0]
    assert fidelity.ranking.scores[-1].engine == "one seat"
    assert checked.verdict.outcome != "lost"
    assert checked.verdict.control is True
    assert fidelity.ranking.requests == 36
    for place in out.glob("real-*"):
        record, twin = read_run(place), read_run(out / place.name.replace("real", "sim", 1))
        assert record.manifest.world == "real"
        assert twin.manifest.world == "simulated"
        assert record.manifest.workload == twin.manifest.workload
        assert record.manifest.engine == twin.manifest.engine
        probed = record.manifest.conditions["probe_ms"]
        assert twin.manifest.conditions["step_times_scaled_by"] == pytest.approx(probed / 0.4)
    by_repeat = [{read_run(p).manifest.workload.sha256 for p in out.glob(f"real-*-{n}")} for n in (1, 2, 3)]
    assert all(len(one) == 1 for one in by_repeat)
    assert by_repeat[0] == by_repeat[2] != by_repeat[1], "the sweep's two seeds in turn"

    report = (out / REPORT).read_bytes()
    kept = check_sweep(found, asked)
    assert (out / REPORT).read_bytes() == report, "nothing ran again, so nothing differs"
    assert kept.verdict == checked.verdict
    with pytest.raises(ConfigError, match="--repeats 3 or more"):
        check_sweep(found, replace(asked, repeats=2))
    with pytest.raises(ConfigError, match="its cells differs"):
        check_sweep(found, replace(asked, top=3))
    damaged = next(out.glob("real-*")) / "requests.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RecordError, match="damaged or edited"):
        check_sweep(found, asked)


def test_a_winner_that_loses_is_exit_code_1(tmp_path: Path, monkeypatch, capsys) -> None:
    found = turned(of_15m(tmp_path))
    monkeypatch.setattr("lab.hardware_check.swept.read_standing", lambda folder, figure, group: found)
    command = ["check", "sweep", "--top", "1", "--repeats", "3", "--seed", "1", "--out", str(tmp_path / "check")]
    assert run(command) == 1
    told = capsys.readouterr()
    assert told.out.startswith("one seat lost to many seats by ")
    assert "all repeats have the same requests" in told.out
    assert "3 (worst)" in told.out
    assert run([*command, "--json"]) == 1
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["verdict"]["outcome"] == "lost"
    assert parsed["figures"][0]["figure"] == "ttft.mean"
    assert parsed["figures"][0]["regret"] >= 0
    assert {f["figure"] for f in parsed["figures"]} >= {"e2e.mean", "slo.goodput_requests_per_s"}


def test_options_without_effect_are_errors(tmp_path: Path, monkeypatch, capsys) -> None:
    found = of_15m(tmp_path)
    monkeypatch.setattr("lab.hardware_check.swept.read_standing", lambda folder, figure, group: found)
    for options, told in (
        (["--servers", "--device", "cpu"], "--device has no effect"),
        (["--servers", "--model", "110m"], "--model has no effect"),
        (["--kv-memory", "2"], "--kv-memory has no effect"),
        (["--model", "110m"], "--model 110m is 110m"),
        (["--figure", "cost.total"], "price times a time"),
    ):
        assert run(["check", "sweep", *options, "--out", str(tmp_path / "check")]) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "check").exists()


def test_a_run_record_is_told_the_verb_that_is_for_it(tmp_path: Path, capsys) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "servetwin.run/1"}')
    assert run(["check", str(tmp_path)]) == 2
    assert f"servetwin laws {tmp_path}" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of two cells, on the simulated engine in real time; by name of the cell."""
    with ExitStack() as stack:
        found = {}
        for name, seats in (("many seats", "16"), ("one seat", "1")):
            folder = tmp_path / name
            folder.mkdir()
            found[name] = stack.enter_context(serving("sim", folder, "--max-num-seqs", seats, step_ms=4.0)).url
        yield found


def test_servers_are_sent_the_requests_of_the_sweep(
    tmp_path: Path, servers: dict[str, str], monkeypatch, capsys
) -> None:
    flat_profile(tmp_path / "profile.json", {"name": "15m", "max_position": 2048}, {}, step_ms=4.0)
    found, out = standing(tmp_path, **LOAD), tmp_path / "check"
    monkeypatch.setattr("lab.hardware_check.swept.read_standing", lambda folder, figure, group: found)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    command = ["check", "sweep", "--top", "1", "--repeats", "2", "--out", str(out)]

    assert run([*command, "--servers"]) == 3
    told = capsys.readouterr().err
    assert "servetwin serve --model 15m --preset vllm --policy fcfs" in told
    assert "--max-num-seqs 1 " in told
    assert "vllm serve MODEL --scheduling-policy fcfs --max-num-seqs 1 " in told
    assert "--num-gpu-blocks-override 512" in told
    assert "no server is given for" in told

    assert run([*command, "--url", f"1={servers['many seats']}"]) == 3
    assert "no server is given for one seat; runs on the others are kept" in " ".join(capsys.readouterr().err.split())
    assert len(list(out.glob("real-1-*"))) == 2

    assert run([*command, "--url", f"one seat={servers['one seat']}", "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["verdict"]["worst_was_clearly_worse"] in (True, False)
    assert parsed["figures"][0]["measured_winner"] == "many seats"
    assert parsed["figures"][0]["tau"] == 1
    assert any("a client sees TTFT, TPOT and E2E" in note for note in parsed["notes"])
    whole(out)
    records = [read_client_run(place) for place in out.glob("real-*")]
    assert len({record.manifest.salt for record in records}) == 4
    for record in records:
        assert record.summary["num_requests"]["finished"] == 12
        assert (record.requests["output_len"] == 32).all()
        assert record.requests["queue_s"].isna().all()
        twin = read_run(out / record.folder.name.replace("real", "sim", 1))
        assert twin.manifest.workload == record.manifest.workload

    shutil.rmtree(out / "real-3-one-seat-2")
    with pytest.raises(BlockedError, match="no server is given for one seat"):
        check_sweep(found, Asked(top=1, repeats=2, worst=True, out=out, on_servers=True))

"""servetwin serve as a process: it says when it is ready, ends well on a signal, and starts again after any end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lab.commands.serve import serve
from lab.options import ComputeOptions, EngineOptions
from records.cost_terms import CostTerms, Term
from records.profile import KVCapacity, Profile, write_profile
from records.replay import replay
from records.run import read_run
from serving.errors import ConfigError, ProfileError

WITHOUT_TORCH = "import sys; sys.modules.update(torch=None, numba=None); "
CALL = "from pathlib import Path; from lab.commands.serve import serve; serve(engine='sim', profile=Path({!r}), {})"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def cost(ms: float) -> CostTerms:
        return CostTerms(terms=(Term(name="step", feature="one", coefficient_ms=ms, meaning="a step"),))

    path = tmp_path_factory.mktemp("profile") / "profile.json"
    made = Profile(
        name="flat",
        model={"name": "15m", "vocab_size": 32000, "max_position": 4096},
        hardware={},
        software={},
        conditions={},
        execute=cost(2.0),
        schedule=cost(0.1),
        complete=cost(0.1),
        return_=cost(0.1),
        residual={},
        hull={},
        kv=KVCapacity(num_blocks=512, block_size=16, bytes_per_token=100),
    )
    write_profile(path, made)
    return path


@contextmanager
def serving(profile: Path, arguments: str = "port=0") -> Iterator[tuple[subprocess.Popen, str]]:
    """The process, and the URL that its one line names."""
    code = WITHOUT_TORCH + CALL.format(str(profile), arguments)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert " at http://" in line, line + process.stderr.read()
            yield process, line.split()[3]
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def ask(url: str, **body: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json={"prompt": "hello", **body}, timeout=20)


def test_it_serves_without_torch_and_ends_with_0_on_sigterm(profile: Path) -> None:
    with serving(profile) as (process, url):
        answer = ask(url, max_tokens=5)
        assert answer.json()["model"] == "15m"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert (out, err) == ("", "")


def test_after_sigkill_it_starts_again_on_the_same_port(profile: Path) -> None:
    with serving(profile) as (process, url):
        port = int(url.rpartition(":")[2])
        with httpx.Client(base_url=url) as client:
            client.get("/health")  # a connection that is open when it dies
            process.kill()
            process.wait(20)
    with serving(profile, f"port={port}") as (process, url):
        assert ask(url, max_tokens=2).status_code == 200


def test_what_it_served_becomes_a_run_record_that_replays(profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with serving(profile, f"port=0, record=Path({str(folder)!r})") as (process, url):
        for n in (3, 5):
            assert ask(url, max_tokens=n).status_code == 200
        with contextlib.suppress(httpx.TimeoutException):
            httpx.post(f"{url}/v1/completions", json={"prompt": "gone", "max_tokens": 900}, timeout=0.2)
        assert ask(url, max_tokens=20).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    record = read_run(folder)
    assert list(record.requests["status"]) == ["finished", "finished", "aborted", "finished"]
    assert list(record.requests["output_len"])[:2] == [3, 5]
    aborts = [line for line in record.inputs() if line["type"] == "abort"]
    assert len(aborts) == 1
    from lab.runs import scheduler_of

    assert replay(record, scheduler_of).equal


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "sim"}, "--profile is missing"),
        ({"compute": ComputeOptions(threads=2)}, "--threads has no effect"),
        ({"compute": ComputeOptions(enforce_eager=True)}, "--enforce-eager has no effect"),
        ({"seed": 2}, "--seed has no effect"),
        ({"force": True}, "--force has no effect"),
        ({"drain": -1.0}, "--drain"),
        ({"port": 70_000}, "port is 70000"),
        ({"api_key": ""}, "API key"),
        ({"api_key": "a b"}, "API key"),
        ({"api_key": "a", "api_key_file": Path("key")}, "given twice"),
        ({"api_key_file": Path("/nowhere/key")}, "/nowhere/key"),
        ({"options": EngineOptions(predictor="oracle")}, "predictor oracle"),
        ({"options": EngineOptions(policy="edf")}, "deadline"),
        ({"options": EngineOptions(policy="nothing")}, "nothing"),
        ({"options": EngineOptions(policy="srpt")}, "predicted_output_len"),
        ({"engine": "real", "compute": ComputeOptions(threads=0)}, "--threads is 0"),
        ({"engine": "real", "compute": ComputeOptions(dtype="float16")}, "float16"),
        ({"engine": "real", "compute": ComputeOptions(enforce_eager=True)}, "--enforce-eager has no effect"),
        ({"engine": "real", "compute": ComputeOptions(device="cuda", threads=2)}, "--threads has no effect on a GPU"),
        ({"engine": "real", "compute": ComputeOptions(kv_memory=1e-9)}, "hold no KV block"),
        ({"engine": "real", "model": "16m"}, "16m"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(
    profile: Path, options: dict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realexec.server.run.serve", lambda *arguments: pytest.fail("it started"))
    given = {"engine": "sim", "port": 0, "profile": profile, **options}
    if options.get("engine") is not None:
        del given["profile"]
    with pytest.raises(ConfigError, match=words):
        serve(**given)


def test_a_profile_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="nowhere"):
        serve(engine="sim", profile=tmp_path / "nowhere.json", port=0)


def test_the_key_comes_from_a_file_and_other_addresses_are_warned_of(profile: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    os.chmod(key, 0o600)
    with serving(profile, f"port=0, host='0.0.0.0', api_key_file=Path({str(key)!r})") as (process, url):
        local = url.replace("0.0.0.0", "127.0.0.1")
        assert ask(local).status_code == 401
        assert httpx.get(f"{local}/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "warning: listening on 0.0.0.0" in err
    assert "secret" not in err

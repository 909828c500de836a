"""Load clients from PyPI, unchanged, against the server as a process: all requests complete, all tokens are counted.

    .venv/bin/python -m pytest -s -o timeout=1800 tests/clients/load_clients.py

The clients are what install.py installs. None may ask a hub: the tokenizer is a folder.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.clients.install import ENVIRONMENTS
from tests.clients.process import ENGINES, MODEL, TOKENIZER, Server, serving

REQUESTS, AT_ONCE, PROMPT, OUTPUT = 100, 16, 64, 32


@dataclass(frozen=True)
class Counted:
    """What a client says that it got."""

    completed: int
    failed: int
    output_tokens: int


WANTED = Counted(REQUESTS, 0, REQUESTS * OUTPUT)


def run(folder: Path, offline: bool, *command: object) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if not offline:
        del environment["HF_HUB_OFFLINE"]
    done = subprocess.run([str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def vllm_bench(server: Server, folder: Path, chat: bool) -> Counted:
    run(
        folder, True, ENVIRONMENTS / "vllm/bin/vllm", "bench", "serve", "--base-url", server.url, "--model", MODEL,
        *(["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"] if chat else ["--backend", "openai"]),
        "--tokenizer", TOKENIZER.absolute(), "--dataset-name", "random", "--random-input-len", PROMPT,
        "--random-output-len", OUTPUT, "--ignore-eos", "--num-prompts", REQUESTS, "--max-concurrency", AT_ONCE,
        "--save-result", "--result-dir", folder, "--result-filename", "vllm.json", "--disable-tqdm",
    )  # fmt: skip
    said = json.loads((folder / "vllm.json").read_text())
    return Counted(said["completed"], said["failed"], said["total_output_tokens"])


def aiperf(server: Server, folder: Path, chat: bool, stream: bool) -> Counted:
    """It takes a tokenizer's folder only where it is not told to be offline."""
    run(
        folder, False, ENVIRONMENTS / "aiperf/bin/aiperf", "profile", "--url", server.url, "--model", MODEL,
        "--endpoint-type", "chat" if chat else "completions", *(["--streaming"] if stream else []),
        "--tokenizer", TOKENIZER.absolute(), "--synthetic-input-tokens-mean", PROMPT,
        "--output-tokens-mean", OUTPUT, "--extra-inputs", "ignore_eos:true",
        "--request-count", REQUESTS, "--concurrency", AT_ONCE, "--artifact-dir", folder, "--ui", "none",
    )  # fmt: skip
    said = json.loads((folder / "profile_export_aiperf.json").read_text())
    failed = sum(error["count"] for error in said["error_summary"])
    return Counted(int(said["request_count"]["avg"]), failed, int(said["total_usage_completion_tokens"]["avg"]))


def guidellm(server: Server, folder: Path, chat: bool, stream: bool) -> Counted:
    path = "/v1/chat/completions" if chat else "/v1/completions"
    backend = f"kind=openai_http,target={server.url},model={MODEL},request_format={path},stream={str(stream).lower()}"
    run(
        folder, True, ENVIRONMENTS / "guidellm/bin/guidellm", "run", "--backend", backend,
        "--profile", f"kind=concurrent,streams={AT_ONCE}", "--constraint", f"kind=max_requests,count={REQUESTS}",
        "--tokenizer", f"kind=hf_auto,model={TOKENIZER.absolute()}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={OUTPUT}",
        "--output", f"kind=json,path={folder / 'guidellm.json'}", "--disable-progress",
    )  # fmt: skip
    metrics = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    totals, tokens = metrics["request_totals"], metrics["output_token_count"]["successful"]["total_sum"]
    return Counted(totals["successful"], totals["errored"] + totals["incomplete"], int(tokens))


def openai_package(server: Server, folder: Path, chat: bool, stream: bool) -> Counted:
    """One after the other; streams are counted event by event."""
    completed = tokens = 0
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        for i in range(REQUESTS):
            said = f"number {i}: once upon a time"
            asked = {"messages": [{"role": "user", "content": said}]} if chat else {"prompt": said}
            create = client.chat.completions.create if chat else client.completions.create
            streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
            answer = create(model=MODEL, max_tokens=OUTPUT, extra_body={"ignore_eos": True}, **asked, **streaming)
            if stream:
                *events, last = answer
                assert len(events) == OUTPUT
                assert events[-1].choices[0].finish_reason == "length"
                answer = last
            completed, tokens = completed + 1, tokens + answer.usage.completion_tokens
    return Counted(completed, REQUESTS - completed, tokens)


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as it:
        yield it


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(server: Server):
    before = server.greedy()
    yield
    assert server.is_idle_within(1)
    assert server.greedy() == before


@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
def test_vllm_bench(server: Server, chat: bool, tmp_path: Path) -> None:
    assert vllm_bench(server, tmp_path, chat) == WANTED


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
@pytest.mark.parametrize("client", [aiperf, guidellm, openai_package], ids=lambda client: client.__name__)
def test_clients(server: Server, client, chat: bool, stream: bool, tmp_path: Path) -> None:
    assert client(server, tmp_path, chat, stream) == WANTED

"""Too much at once, shutting down, and an engine that ended: what clients are told."""

import json
import threading
from dataclasses import replace

import pytest

from realexec.server.worlds import simulated
from realexec.tokenizer.bytewise import ByteTokenizer
from tests.realexec.server.served import QUICK, FlatCost, Served, served
from tests.realexec.server.sockets import connected, read_all, request, wait_for

LONG = {"prompt": "long", "max_tokens": 900}


class Running:
    """A request that another thread waits for."""

    def __init__(self, server: Served, **body: object) -> None:
        self.response = None
        self.error: Exception | None = None
        before = server.service.num_open

        def run() -> None:
            try:
                self.response = server.post(**body)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert wait_for(lambda: server.service.num_open > before)

    def wait(self):
        self.thread.join(20)
        return self.response


def test_the_admission_policy_answers_429() -> None:
    with served(admission="queue-cap(max_waiting=1)", settings={"max_num_seqs": 1}, step_ns=5_000_000) as server:
        first = Running(server, prompt="a", max_tokens=100)
        assert wait_for(lambda: server.engine.snapshot.num_running == 1)
        second = Running(server, prompt="b", max_tokens=1)
        assert wait_for(lambda: server.engine.snapshot.num_waiting == 1)
        for stream in (False, True):
            third = server.post(prompt="c", max_tokens=1, stream=stream)
            assert third.status_code == 429
            assert int(third.headers["retry-after"]) >= 1
            assert third.json()["error"]["type"] == "rate_limit_error"
            assert "wait already" in third.json()["error"]["message"]
        assert first.wait().status_code == 200
        assert second.wait().status_code == 200
        with server.client() as client:
            assert 'vllm:admission_rejections_total{engine="0",model_name="twin"} 2.0' in client.get("/metrics").text


def test_more_requests_than_the_limit_answer_503() -> None:
    with served(limits=replace(QUICK, requests=1), step_ns=5_000_000) as server:
        first = Running(server, prompt="a", max_tokens=60)
        second = server.post(prompt="b")
        assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
        assert int(second.headers["retry-after"]) >= 1
        assert first.wait().status_code == 200
        assert server.post(prompt="b").status_code == 200


def test_more_connections_than_the_limit_answer_503() -> None:
    with served(limits=replace(QUICK, connections=3)) as server, connected(server), connected(server):
        assert wait_for(lambda: server.post(prompt="a").status_code == 503)


def test_a_request_that_can_never_fit_answers_400_with_both_numbers() -> None:
    with served(settings={"num_blocks": 4}) as server:
        response = server.post(prompt="a" * 100, max_tokens=10)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "can_never_be_served")
        assert "7 KV blocks" in error["message"]
        assert "the pool has 4" in error["message"]
        assert "r00" not in error["message"]


def test_draining_finishes_what_runs_and_takes_nothing_in() -> None:
    with served(step_ns=2_000_000) as server:
        running = Running(server, prompt="a", max_tokens=150)
        server.stop()
        assert wait_for(lambda: server.service.is_draining)
        with server.client() as client:
            late = client.post("/v1/completions", json={"prompt": "b"})
            assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
            assert "retry-after" in late.headers
            assert client.get("/health").status_code == 503
        assert running.wait().json()["usage"]["completion_tokens"] == 150
        assert server.over.wait(10)
    assert not server.scheduler.has_work


def test_what_is_not_finished_in_time_is_aborted() -> None:
    with served(limits=replace(QUICK, drain_s=0.3), step_ns=5_000_000) as server:
        running = Running(server, **LONG)
        with connected(server) as it:
            it.sendall(request({**LONG, "stream": True}))
            assert wait_for(lambda: server.service.num_open == 2)
            assert wait_for(lambda: server.engine.snapshot.num_running == 2)
            server.stop()
            raw = read_all(it)
        assert running.wait().status_code == 503
        assert server.over.wait(10)
    assert_error_then_cut(raw, "draining")
    server.scheduler.check()
    assert not server.scheduler.has_work


def test_a_second_signal_does_not_wait() -> None:
    with served(limits=replace(QUICK, drain_s=60), step_ns=5_000_000) as server:
        running = Running(server, **LONG)
        server.stop()
        assert wait_for(lambda: server.service.is_draining)
        server.stop()
        assert server.over.wait(10)
        assert running.wait().status_code == 503


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_fails_tells_everybody_and_ends_the_server(stream: bool) -> None:
    world = simulated(FlatCost(), ByteTokenizer(), 300)
    steps = 0
    execute = world.runner.execute

    def failing(plan):
        nonlocal steps
        steps += 1
        if steps > 20:
            raise RuntimeError("out of memory")
        return execute(plan)

    world.runner.execute = failing
    with served(world) as server:
        with connected(server) as it:
            it.sendall(request({**LONG, "stream": stream}))
            raw = read_all(it) if stream else it.recv(1 << 16)
        assert server.over.wait(10)
    assert isinstance(server.service.error, RuntimeError)
    if stream:
        assert_error_then_cut(raw, "engine_ended")
    else:
        assert raw.split()[1] == b"503"
        assert b"out of memory" not in raw


def test_a_tokenizer_that_fails_ends_the_server_too() -> None:
    """It is the consumer's thread that finds out, and nobody may wait for it in vain."""

    class Broken(ByteTokenizer):
        def detokenizer(self):
            class Detokenizer:
                def push(self, token_ids):
                    raise RuntimeError("no such token")

            return Detokenizer()

    with served(simulated(FlatCost(), Broken(), 300)) as server:
        assert server.post(prompt="a").status_code == 503
        assert server.over.wait(10)
    assert isinstance(server.service.error, RuntimeError)


def assert_error_then_cut(raw: bytes, code: str) -> None:
    """The last event is the error, nothing says that the answer was complete, and no last chunk of HTTP follows."""
    assert raw.split()[1] == b"200"
    events = [line for line in raw.split(b"\n") if line.startswith(b"data: ")]
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == code
    assert b"[DONE]" not in raw
    assert b'finish_reason":"' not in raw
    assert not raw.endswith(b"0\r\n\r\n")

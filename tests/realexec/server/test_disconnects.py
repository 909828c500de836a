"""Clients that go away, and clients that do not read: their requests stop, the others do not notice."""

import asyncio
import os
import random
import time

import httpx

from realexec.engine import ExecutedStep
from realexec.server.connection import EXTENSION
from realexec.server.event_stream import EventStream
from realexec.server.limits import Limits
from tests.realexec.server.served import Served, served
from tests.realexec.server.sockets import connected, read_all, request, wait_for

NUM_OF_EACH = int(os.environ.get("SERVETWIN_DISCONNECTS", "20"))
"""Streaming and not; 200 before a release."""
NORMAL_TOKENS = 40
STEP_NS = 1_000_000


async def stay(client: httpx.AsyncClient, number: int) -> str:
    body = {"prompt": f"stay {number}", "max_tokens": NORMAL_TOKENS, "temperature": 0, "ignore_eos": True}
    answer = (await client.post("/v1/completions", json=body)).json()
    assert answer["usage"]["completion_tokens"] == NORMAL_TOKENS
    return answer["choices"][0]["text"]


async def leave(url: str, number: int, stream: bool, after_s: float) -> None:
    """after_s: from the moment when its request was sent."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request({"prompt": f"leave {number}", "max_tokens": 900, "stream": stream, "ignore_eos": True}))
    try:
        async with asyncio.timeout(after_s):
            while await reader.read(1 << 16):
                pass
    except TimeoutError:
        return
    finally:
        writer.transport.abort()
    raise AssertionError("it was answered before it could leave")


async def crowd(url: str, num_of_each: int) -> list[str]:
    """The answers of those who stay.

    num_of_each stay, as many leave a stream, as many leave without one: 0 to twice as long as an answer takes.
    """
    dice = random.Random(5)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        began = time.monotonic()
        await stay(client, 0)
        expected_s = time.monotonic() - began
        leaving = [leave(url, i, i % 2 == 0, dice.uniform(0, 2 * expected_s)) for i in range(2 * num_of_each)]
        answers = await asyncio.gather(*[stay(client, i) for i in range(num_of_each)], *leaving)
    return answers[:num_of_each]


def num_aborted(server: Served) -> int:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if 'finished_reason="abort"' in line and "_total{" in line
    )


def crowd_and_check(server: Served, num_of_each: int) -> None:
    answers = asyncio.run(crowd(server.url, num_of_each))
    assert wait_for(lambda: server.service.num_open == 0, 5)
    assert wait_for(lambda: server.num_held == 0, 1)
    assert num_of_each < num_aborted(server) <= 2 * num_of_each, "some left before they were heard"
    for i in range(0, num_of_each, 7):
        alone = server.post(prompt=f"stay {i}", max_tokens=NORMAL_TOKENS, temperature=0, ignore_eos=True)
        assert answers[i] == alone.json()["choices"][0]["text"]
    server.scheduler.check()
    assert not server.scheduler.has_work


def test_who_leaves_frees_its_blocks_and_who_stays_gets_its_tokens() -> None:
    with served(step_ns=STEP_NS) as server:
        crowd_and_check(server, NUM_OF_EACH)


def test_a_request_stops_within_two_steps_of_its_abort() -> None:
    """However its client asked. Steps after the server has let go of it are counted at the engine."""
    for stream in (True, False):
        with served(step_ns=5_000_000) as server:
            steps: list[ExecutedStep] = []
            server.service._after_delivery = lambda step, at, steps=steps: steps.append(step)
            with connected(server) as it:
                it.sendall(request({"prompt": "a", "max_tokens": 1000, "stream": stream}))
                assert wait_for(lambda: len(steps) > 5)  # noqa: B023
            assert wait_for(lambda: server.service.num_open == 0)
            let_go = len(steps)
            assert wait_for(lambda: server.num_held == 0)
            assert len(steps) - let_go <= 2


def test_nothing_more_is_written_once_a_connection_is_lost() -> None:
    """However much waits for its client: asyncio would log each try."""
    sent: list[str] = []

    class Lost:
        @staticmethod
        def is_closing() -> bool:
            return len(sent) > 3

    async def many():
        for _ in range(100):
            yield b"data: 1\n\n"

    async def send(message) -> None:
        sent.append(message["type"])

    async def still_there():
        await asyncio.sleep(60)

    left: list[bool] = []
    stream = EventStream(many(), lambda: left.append(True), {}, stalled_s=1.0)
    asyncio.run(stream({"extensions": {EXTENSION: Lost}}, still_there, send))
    assert sent == ["http.response.start"] + 3 * ["http.response.body"]
    assert left == [True]


def test_a_normal_end_is_not_aborted() -> None:
    with served(step_ns=200_000) as server:
        aborted: list[str] = []
        abort = server.engine.abort
        server.engine.abort = lambda request_id: (aborted.append(request_id), abort(request_id))
        for i in range(20):
            server.post(prompt=f"a{i}", max_tokens=1 + i)
            with server.client() as client:
                body = {"prompt": f"b{i}", "max_tokens": 1 + i, "stream": True}
                assert client.post("/v1/completions", json=body).text.endswith("data: [DONE]\n\n")
        assert aborted == []


def test_a_reader_that_stalls_is_cut_off_and_slows_nobody() -> None:
    """It asks for much and reads nothing; what waits for it is bounded by its own max_tokens."""
    limits, settings = Limits(stalled_s=0.5), {"max_model_len": 40_000, "num_blocks": 4000}
    with (
        served(limits=limits, step_ns=50_000, settings=settings, send_buffer=4096) as server,
        connected(server, receive_buffer=4096) as it,
    ):
        it.sendall(request({"prompt": "a", "max_tokens": 30_000, "stream": True}))
        assert wait_for(lambda: server.service.num_open == 1)
        for i in range(10):
            assert server.post(prompt=f"b{i}", max_tokens=5).status_code == 200
        assert wait_for(lambda: server.service.num_open == 0, 20)
        assert wait_for(lambda: server.num_held == 0, 5)
        assert not read_all(it).endswith(b"0\r\n\r\n")

"""A workload is sent to a server, each request when it is due, whatever became of those before: an open loop.

One thread and one event loop; what could delay it is measured: how late requests left, and how late a timer of the
same loop woke all the while.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.hardware_check.client.prompts import body_of, permutation
from lab.hardware_check.client.server import Server, client_library, headers
from lab.hardware_check.client.stream import Answer
from workloads.workload import Workload, WorkloadRequest

if TYPE_CHECKING:
    import httpx

LEAD_NS = 100_000_000
"""From the start to time 0 of the workload."""
PATIENCE_S = 900.0
"""Without a byte from the server, until a request is given up."""
HEARTBEAT_S = 0.02


@dataclass
class Sent:
    """One request. Integer nanoseconds since time 0. reason: why there is no whole answer, None where there is."""

    request: WorkloadRequest
    sent_at: int | None = None
    first_at: int | None = None
    last_at: int | None = None
    tokens: int = 0
    refused: bool = False
    reason: str | None = None


@dataclass
class ClientRun:
    """sent: in the order of the workload. lags: by how much the heartbeat was late, nanoseconds."""

    sent: list[Sent]
    salt: int
    lags: list[int] = field(default_factory=list)


def send(
    workload: Workload,
    server: Server,
    salt: int,
    api_key: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> ClientRun:
    """salt: of the permutation of its token ids. progress is told how many requests have ended.

    The bodies are made before time 0: JSON of long prompts takes longer than a request may be late.
    """
    httpx = client_library()
    renamed = permutation(workload, salt)
    bodies = [_encoded(httpx, body_of(request, renamed, server.model)) for request in workload.requests]
    run = ClientRun([Sent(request) for request in workload.requests], salt)
    with _without_collection_pauses():
        asyncio.run(_send_all(httpx, run, bodies, server, api_key, progress or (lambda done: None)))
    return run


async def _send_all(
    httpx: Any,
    run: ClientRun,
    bodies: list[bytes],
    server: Server,
    api_key: str | None,
    progress: Callable[[int], None],
) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx.Timeout(PATIENCE_S, connect=30.0)
    sending = {"Content-Type": "application/json", **headers(api_key)}
    async with httpx.AsyncClient(limits=limits, timeout=timeout, headers=sending, trust_env=False) as client:
        with suppress(httpx.HTTPError):  # what a first request has to load and to open is not the server's time
            await client.get(f"{server.url}/v1/models")
        start = time.perf_counter_ns() + LEAD_NS
        pulse = asyncio.create_task(_heartbeat(run.lags))
        done = 0

        async def one(sent: Sent, body: bytes) -> None:
            nonlocal done
            await _until(start + sent.request.arrival_time)
            await _ask(httpx, client, server, sent, body, start)
            done += 1
            progress(done)

        try:
            async with asyncio.TaskGroup() as group:
                for sent, body in zip(run.sent, bodies, strict=True):
                    # no sooner than it must be: a loop with thousands of sleeping tasks is a slower loop
                    await _until(start + sent.request.arrival_time - LEAD_NS // 2)
                    group.create_task(one(sent, body))
        finally:
            pulse.cancel()
            with suppress(asyncio.CancelledError):
                await pulse


async def _ask(httpx: Any, client: "httpx.AsyncClient", server: Server, sent: Sent, body: bytes, start: int) -> None:
    answer = Answer()
    sent.sent_at = time.perf_counter_ns() - start
    try:
        async with client.stream("POST", server.completions, content=body) as response:
            if response.status_code != 200:
                sent.refused = True
                sent.reason = f"{response.status_code}: {(await response.aread()).decode(errors='replace')[:300]}"
                return
            async for part in response.aiter_raw():
                answer.feed(part, time.perf_counter_ns() - start)
    except (httpx.HTTPError, ValueError) as error:
        sent.reason = f"{type(error).__name__}: {error}"[:300]
    sent.first_at, sent.last_at, sent.tokens = answer.first_at, answer.last_at, answer.tokens or 0
    if sent.reason is None and answer.error is not None:
        sent.reason = answer.error
    if sent.reason is None and answer.tokens != sent.request.output_len:
        given = "an unknown number of" if answer.tokens is None else answer.tokens
        sent.reason = f"the server gave {given} tokens of {sent.request.output_len}"


async def _until(at: int) -> None:
    left = at - time.perf_counter_ns()
    if left > 0:
        await asyncio.sleep(left / 1e9)


async def _heartbeat(lags: list[int]) -> None:
    due = time.perf_counter_ns()
    while True:
        due = max(due + int(HEARTBEAT_S * 1e9), time.perf_counter_ns())
        await _until(due)
        lags.append(time.perf_counter_ns() - due)


def _encoded(httpx: Any, body: dict[str, Any]) -> bytes:
    content: bytes = httpx.Request("POST", "http://server", json=body).content
    return content


@contextmanager
def _without_collection_pauses() -> Iterator[None]:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

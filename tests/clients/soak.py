"""Random requests for a long time: answered, left, or never read, over a KV pool that is too small for all of them.

    .venv/bin/python -m pytest -s -o timeout=3600 tests/clients/soak.py

SERVETWIN_SOAK_S: seconds, 600 unless told. At its end every block is free, answers are what they were, and the process
is no larger than it was in the middle.
"""

import asyncio
import json
import os
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.clients.process import Server, serving
from tests.realexec.server.sockets import request

SECONDS = float(os.environ.get("SERVETWIN_SOAK_S", "600"))
AT_ONCE = 48
PROMPTS = tuple(f"{i}, once upon a time there was " + "a story " * (3 * i) for i in range(12))
LONGEST = 400
GROWTH = 1.05
"""Of resident memory, from the middle to the end."""


@dataclass
class Soak:
    """texts: what each prompt was answered at length, in a server without others."""

    server: Server
    texts: dict[str, str]
    seen: Counter[str] = field(default_factory=Counter)
    until: float = 0.0

    async def run(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        unlimited = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.server.url, timeout=120, limits=unlimited) as client:
            await asyncio.gather(*[self._client(client, random.Random(n)) for n in range(AT_ONCE)])

    async def _client(self, client: httpx.AsyncClient, dice: random.Random) -> None:
        acts = (self._whole, self._stream, self._leave, self._stall, self._refused)
        while time.monotonic() < self.until:
            (act,) = dice.choices(acts, weights=(6, 6, 6, 1, 2))
            body = {"prompt": dice.choice(PROMPTS), "max_tokens": dice.randint(1, LONGEST // 3), "temperature": 0}
            await act(client, dice, body)
            self.seen[act.__name__.removeprefix("_")] += 1
            await asyncio.sleep(dice.expovariate(20))

    async def _whole(self, client: httpx.AsyncClient, dice: random.Random, body: dict) -> None:
        answer = (await client.post("/v1/completions", json=body)).raise_for_status().json()
        self._check(body, answer["choices"][0]["text"], answer["usage"]["completion_tokens"])

    async def _stream(self, client: httpx.AsyncClient, dice: random.Random, body: dict) -> None:
        texts = []
        async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    texts.append(json.loads(line.removeprefix("data: "))["choices"][0]["text"])
        self._check(body, "".join(texts), len(texts))

    async def _leave(self, client: httpx.AsyncClient, dice: random.Random, body: dict) -> None:
        asked = {**body, "max_tokens": LONGEST, "stream": dice.random() < 0.5}
        try:
            async with asyncio.timeout(dice.uniform(0, 2)), client.stream("POST", "/v1/completions", json=asked) as it:
                await it.aread()
        except TimeoutError:
            pass

    async def _stall(self, client: httpx.AsyncClient, dice: random.Random, body: dict) -> None:
        """It asks for a long stream and reads nothing, sometimes for longer than the 30 s that the server waits."""
        host, port = self.server.url.removeprefix("http://").split(":")
        with socket.socket() as it:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            it.connect((host, int(port)))
            options = {"continuous_usage_stats": True}
            it.sendall(request({**body, "max_tokens": LONGEST, "stream": True, "stream_options": options}))
            await asyncio.sleep(min(dice.expovariate(1 / 10), self.until - time.monotonic()))

    async def _refused(self, client: httpx.AsyncClient, dice: random.Random, body: dict) -> None:
        wrong = dice.choice([{"n": 2}, {"max_tokens": 10**6}, {"prompt": [-1]}, {"model": "another"}, {"stop": [""]}])
        answer = await client.post("/v1/completions", json={**body, **wrong})
        assert answer.status_code in (400, 404)

    def _check(self, body: dict, text: str, num_tokens: int) -> None:
        assert num_tokens == body["max_tokens"]
        assert self.texts[body["prompt"]].startswith(text)


def test_soak(tmp_path: Path) -> None:
    with serving("sim", tmp_path, "--num-blocks", "96", "--max-model-len", "1024", step_ms=1.0) as server:
        texts = {prompt: server.greedy(prompt, LONGEST) for prompt in PROMPTS}
        soak = Soak(server, texts)
        asyncio.run(soak.run(SECONDS / 2))
        warm_mib = server.resident_mib
        asyncio.run(soak.run(SECONDS / 2))
        assert server.is_idle_within(1)
        assert {prompt: server.greedy(prompt, LONGEST) for prompt in PROMPTS} == texts
        preemptions, mib = server.metric("num_preemptions_total"), server.resident_mib
        aborts = server.metric("request_success_total", 'finished_reason="abort"')
        print(f"{SECONDS:g} s: {dict(soak.seen)}, {aborts:g} aborted, {preemptions:g} preemptions")
        print(f"resident memory: {warm_mib:.1f} MiB after half of it, {mib:.1f} MiB at its end")
        assert preemptions > 0
        assert mib < warm_mib * GROWTH

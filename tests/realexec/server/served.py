"""A server for tests: a real socket, uvicorn in a thread, and under it the paced engine or a tiny real one."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import httpx

from realexec.compute import Compute
from realexec.engine import Engine
from realexec.server.assembled import assemble
from realexec.server.limits import Limits
from realexec.server.run import listen, serve_until, url_of
from realexec.server.service import Service
from realexec.server.worlds import World, simulated
from realexec.tokenizer.bytewise import ByteTokenizer
from serving.cost import StepFeatures
from serving.schedule.config import EngineConfig
from serving.schedule.engine import EngineSpec, build
from serving.schedule.scheduler import Scheduler

if TYPE_CHECKING:
    from realexec.loaded import LoadedModel

MODEL = "twin"
QUICK = Limits(body_s=1.0, header_s=1.0, stalled_s=1.0, drain_s=1.0, body_bytes=1 << 20)


@dataclass
class FlatCost:
    """Every step takes as long."""

    step_ns: int = 2_000_000

    def execute_time(self, step: StepFeatures) -> int:
        return self.step_ns

    def schedule_time(self, step: StepFeatures) -> int:
        return 0

    return_time = complete_time = schedule_time

    def copy_time(self, num_blocks: int) -> int:
        return 0

    def wake_time(self) -> int:
        return 0

    def arrive_time(self) -> int:
        return 0


@dataclass
class Served:
    url: str
    service: Service
    engine: Engine
    scheduler: Scheduler
    stop: Callable[[], None] = lambda: None
    over: threading.Event = field(default_factory=threading.Event)

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, verify=False, **options)  # certificates take time to load

    def post(self, path: str = "/v1/completions", **body: object) -> httpx.Response:
        with self.client() as client:
            return client.post(path, json=body)

    @property
    def num_held(self) -> int:
        """Token slots in blocks that requests hold."""
        snapshot = self.engine.snapshot
        return snapshot.kv_total - snapshot.kv_free - snapshot.kv_cached_idle


def tiny_model() -> "LoadedModel":
    """Two small layers with random weights, and 1,024 positions."""
    from realexec.loaded import LoadedModel
    from realexec.shapes import ModelShape
    from realexec.weights import random_weights

    shape = ModelShape("tiny", 300, 32, 2, 4, 2, 8, 48, 1e4, 1e-5, False, True, 1024)
    return LoadedModel("tiny", shape, random_weights(shape, 1), ByteTokenizer())


@cache
def tiny_world(num_blocks: int) -> World:
    from realexec.build import build_runner
    from realexec.server.worlds import real

    config = EngineConfig(max_model_len=1024, num_blocks=num_blocks, max_num_batched_tokens=256)
    model = tiny_model()
    return real(model, build_runner(model, Compute(dtype="float32"), config, num_blocks))


@contextmanager
def served(
    world: World | None = None,
    limits: Limits = QUICK,
    step_ns: int = 2_000_000,
    api_key: str = "",
    send_buffer: int | None = None,
    **spec: object,
) -> Iterator[Served]:
    """The paced engine, unless a world is given. send_buffer: bytes, the system's for each connection. spec: of
    EngineSpec.
    """
    world = world or simulated(FlatCost(step_ns), ByteTokenizer(), 300)
    settings = {"max_model_len": 1024, "num_blocks": 512, **spec.pop("settings", {})}
    scheduler = build(EngineSpec(**spec, settings=settings))
    app, service, engine = assemble(
        world, scheduler, scheduler, limits, model_name=MODEL, model_root=MODEL, api_key=api_key
    )
    listener = listen("127.0.0.1", 0)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    ready = threading.Event()
    it = Served(url_of(listener), service, engine, scheduler)

    def connect(stop: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        it.stop = lambda: loop.call_soon_threadsafe(stop)

    def run() -> None:
        try:
            asyncio.run(serve_until(app, service, limits, listener, ready.set, connect))
        finally:
            it.over.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    try:
        assert ready.wait(20)
        yield it
    finally:
        if not it.over.is_set():
            it.stop()
            it.stop()
        thread.join(20)
        assert not thread.is_alive()

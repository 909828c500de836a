"""A link on which KV moves: what is sent while it is busy waits for its turn, first come, first served."""

from collections.abc import Generator
from typing import Any

import simpy

from serving.errors import ConfigError
from sim.order import At, Order


class Link:
    """bytes_per_s: of one transfer. latency: integer nanoseconds that each takes beyond it. channels: how many at once.

    Errors: ConfigError for a link on which nothing would ever arrive.
    """

    def __init__(self, env: simpy.Environment, bytes_per_s: float, latency: int = 0, channels: int = 1) -> None:
        if not bytes_per_s > 0:
            raise ConfigError(f"a link of {bytes_per_s:g} bytes a second moves nothing; its bandwidth must be above 0")
        if latency < 0 or channels < 1:
            raise ConfigError(f"a link has a latency of {latency} ns and {channels} channels; give 0 and 1 at least")
        self._env = env
        self._bytes_per_s = bytes_per_s
        self._latency = latency
        self._channels = simpy.Resource(env, channels)
        self.busy_ns = 0

    def duration(self, num_bytes: int) -> int:
        """Integer nanoseconds of a transfer that has not to wait."""
        return self._latency + round(num_bytes / self._bytes_per_s * 1e9)

    def transfer(self, num_bytes: int) -> Generator[simpy.Event, Any, None]:
        """A process, or part of one, that ends when the bytes have arrived."""
        with self._channels.request() as channel:
            yield channel
            duration = self.duration(num_bytes)
            yield At(self._env, int(self._env.now) + duration, Order.TRANSFER)
            self.busy_ns += duration

"""A machine that becomes slower and faster while a replica runs on it."""

from collections.abc import Generator

import simpy

from records.drift import Drift
from sim.order import At, Order
from sim.replica import Replica


def drifting(env: simpy.Environment, replica: Replica, drift: Drift) -> Generator[simpy.Event, None, None]:
    """A process. Steps take as long as the machine was fast when they were launched."""
    for at, pace in drift:
        yield At(env, at, Order.FLEET)
        replica.slow_down(pace)

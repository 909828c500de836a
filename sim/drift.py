"""A machine that becomes slower and faster while a replica runs on it."""

from collections.abc import Generator

import simpy

from records.drift import Drift
from sim.order import At, Order
from sim.replica import Replica


def drifting(env: simpy.Environment, replica: Replica, drift: Drift) -> Generator[simpy.Event, None, None]:
    """A process. Steps take as long as the machine was fast when they were launched."""
    for moment in drift:
        yield At(env, moment.at, Order.FLEET)
        replica.slow_down(moment.pace)
        if moment.pause_ns:
            replica.pause(moment.pause_ns)

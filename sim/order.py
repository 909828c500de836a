"""What comes first at one instant.

    COMPLETION   the tokens of a step are on the host
    FLEET        a replica fails, comes up, becomes slow
    NEWS         router and clients hold what a replica sent: a first token, an end
    ARRIVAL      requests are sent, in order of id
    TRANSFER     KV has arrived
    TIMER        metrics are read, the autoscaler is asked, a policy wakes up
    DECISION     an engine schedules its next step: it sees all of the above

Within a line: by number of the replica where there is one, else in the order in which it was set up. What happens at
an instant can bring about more at the same instant; that comes in its line too, before any DECISION.
"""

from enum import IntEnum

import simpy


class Order(IntEnum):
    COMPLETION = 1
    FLEET = 2
    NEWS = 3
    ARRIVAL = 4
    TRANSFER = 5
    TIMER = 6
    DECISION = 7


class At(simpy.Event):
    """An event at an instant to come, in integer nanoseconds since the start of the run."""

    def __init__(self, env: simpy.Environment, at: int, order: Order) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        env.schedule(self, order, at - env.now)  # type: ignore[arg-type]  # simpy's own two priorities are integers

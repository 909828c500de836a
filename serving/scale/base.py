"""What an autoscaler is asked, and the hold before a fleet gets smaller."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf
from typing import NamedTuple

from serving.errors import ConfigError, InvariantError, PolicyError
from serving.route.view import ReplicaView


class FleetView(NamedTuple):
    """A fleet at the moment an autoscaler is asked.

    replicas: those that are up and take requests, ordered by index. starting, draining: how many others come up, or
    end what they have. waiting: requests that wait at the front. arrived: requests since the last question, which was
    at `since`, in integer nanoseconds since the start of the run; or since the start.
    """

    replicas: Sequence[ReplicaView]
    starting: int
    draining: int
    waiting: int
    arrived: int
    since: int


@dataclass
class Autoscaler:
    """Says how many replicas it wants. A subclass is a dataclass with options of its own, and overrides desired().

    hold_s: seconds; a fleet shrinks to no less than the most that was desired within them, and grows at once. It is the
    stabilisation window of Kubernetes' horizontal pod autoscaler (HPA; 300 s there too), without its limits of velocity
    and its tolerance.
    """

    hold_s: float = field(default=300.0, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.hold_s < inf:
            raise ConfigError(f"hold_s is {self.hold_s}; it is a time in seconds, at least 0")
        self._most: deque[tuple[int, int]] = deque()  # (when, desired), each more than all after it

    def desired(self, fleet: FleetView, now: int) -> int:
        """For the load as it is now. Asked at regular times; now: integer nanoseconds since the start of the run."""
        raise NotImplementedError("an autoscaler says how many replicas it desires")

    def wanted(self, fleet: FleetView, now: int) -> int:
        """Replicas that should take requests or be starting; whoever asks keeps it between its least and its most.

        Errors: PolicyError naming the autoscaler, where it raises or answers nonsense.
        """
        desired = self._ask(fleet, now)
        while self._most and self._most[-1][1] <= desired:
            self._most.pop()
        self._most.append((now, desired))
        while now - self._most[0][0] >= self.hold_s * 1e9 and len(self._most) > 1:
            self._most.popleft()
        current = len(fleet.replicas) + fleet.starting
        return max(desired, min(current, self._most[0][1]))

    def _ask(self, fleet: FleetView, now: int) -> int:
        name = type(self).__name__
        try:
            answer: object = self.desired(fleet, now)
        except InvariantError:
            raise
        except Exception as error:
            raise PolicyError(f"{name}, {now / 1e9:g} s: desired() raised {type(error).__name__}: {error}") from error
        if not isinstance(answer, int) or isinstance(answer, bool) or answer < 0:
            raise PolicyError(f"{name}, {now / 1e9:g} s: desired() answered {answer!r}; it is a number of replicas")
        return answer


def as_written(option: float) -> Fraction:
    """0.7 as seven tenths, so that a load of exactly the target asks for no replica more."""
    return Fraction(str(option))

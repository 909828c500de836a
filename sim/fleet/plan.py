"""What a fleet is made of, and what will happen to it. All times are integer nanoseconds since the start of the run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.cost import CostModel
from serving.errors import ConfigError
from serving.request import Request
from serving.route.front import Front
from serving.schedule.contract import QuietSteps, SchedulerLike, StepReceipt
from sim.fleet.autoscale import Autoscale
from sim.noise import StepNoise


@dataclass(frozen=True)
class Engine:
    """What a replica runs. start: makes a fresh scheduler, for each of its lives.

    noise: of a life, by its number. kv_bytes_per_token: of K and V over all layers. block_size: tokens. role: "both",
    "prefill" or "decode".
    """

    start: Callable[[], SchedulerLike]
    cost: CostModel
    kv_bytes_per_token: int
    role: str = "both"
    noise: Callable[[int], StepNoise | None] = lambda life: None
    block_size: int = 16


@dataclass(frozen=True)
class Failure:
    """back_at: when the replica is up again, empty; None: never."""

    replica: int
    at: int
    back_at: int | None = None


@dataclass(frozen=True)
class Slowdown:
    """Execution takes `factor` times as long, of steps launched from `at` to before `until`; None: to the end.

    The factors of slowdowns that hold at once multiply.
    """

    replica: int
    at: int
    factor: float
    until: int | None = None

    def holds(self, now: int) -> bool:
        return self.at <= now and (self.until is None or now < self.until)


@dataclass(frozen=True)
class LinkSpec:
    """See sim/fleet/link.py."""

    bytes_per_s: float
    latency: int = 0
    channels: int = 1


@dataclass(frozen=True)
class FleetPlan:
    """engines: by number of the replica.

    first: the front at which requests begin. decode: that of decode replicas, where they are apart; link: between them.
    host_link: between devices and host memory, one for each `replicas_per_host_link` replicas with successive numbers;
    None: each replica has its own, as its profile says.
    retries: how often a request may be lost and go on. metrics_every: how often metrics are read; 0: whenever a router
    looks. metrics_delay: how old they are when it sees them. autoscale: starts with its least number of replicas, the
    first ones.
    Errors: ConfigError for what does not go together.
    """

    engines: Mapping[int, Engine]
    first: Front
    decode: Front | None = None
    link: LinkSpec | None = None
    host_link: LinkSpec | None = None
    replicas_per_host_link: int = 1
    failures: Sequence[Failure] = ()
    slowdowns: Sequence[Slowdown] = ()
    retries: int = 3
    metrics_every: int = 0
    metrics_delay: int = 0
    autoscale: Autoscale | None = None

    def __post_init__(self) -> None:
        if (self.decode is None) != (self.link is None):
            raise ConfigError("prefill and decode replicas need a link between them, and nobody else does")
        if self.replicas_per_host_link < 1 or (self.host_link is None and self.replicas_per_host_link > 1):
            raise ConfigError("replicas_per_host_link is how many replicas share a host_link, at least 1; it needs one")
        if self.metrics_delay and not self.metrics_every:
            raise ConfigError("metrics_delay has no effect without metrics_every")
        if self.autoscale is not None and (self.decode is not None or self.autoscale.most > len(self.engines)):
            raise ConfigError(
                f"autoscale: up to {self.autoscale.most} replicas are wanted of {len(self.engines)}, which must all "
                f"serve prefill and decode"
            )
        for failure in self.failures:
            self._check(failure.replica, failure.at, failure.back_at)
        for slowdown in self.slowdowns:
            self._check(slowdown.replica, slowdown.at, slowdown.until)
            if not slowdown.factor > 0:
                raise ConfigError(f"replica {slowdown.replica}: slower by {slowdown.factor:g}; give more than 0")

    def _check(self, replica: int, at: int, until: int | None) -> None:
        if replica not in self.engines:
            raise ConfigError(f"replica {replica} is to fail or slow down, but there is none; give 0 and up")
        if at < 0 or (until is not None and until < at):
            raise ConfigError(f"what happens to replica {replica} at {at / 1e9:g} s ends before it begins")


class Witness(Protocol):
    """Who is told what happens: records.run.RunWriter, by way of lab/fleet_runs.py."""

    def new_engine(self, replica: int, life: int) -> int: ...

    def sent(self, request: Request) -> None: ...

    def placed(self, request_id: str, replica: int) -> None: ...

    def lost(self, request_id: str) -> None: ...

    def step(self, receipt: StepReceipt, engine: int, moved: Sequence[str]) -> None: ...

    def quiet_steps(self, steps: QuietSteps, engine: int) -> None: ...

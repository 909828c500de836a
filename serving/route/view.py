"""What a router may see of a replica: live, read-only.

The router's own books (what was placed there and has not ended) are true at once. Metrics are what the replica
published last: the world may deliver them late.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from serving.cost import CostModel, StepFeatures
from serving.errors import ConfigError
from serving.names import known
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Snapshot

ROLES = ("both", "prefill", "decode")


class Metrics(NamedTuple):
    """What a replica's /metrics shows. kv_*: tokens; kv_held + kv_cached_idle + kv_free = kv_total.

    at: integer nanoseconds since the start of the run, when it was so.
    kv_held: of requests that are there: stored, and the empty slots of their blocks.
    kv_cached_idle: nobody's, but can still be hit.
    """

    at: int
    num_waiting: int
    num_running: int
    kv_total: int
    kv_held: int
    kv_cached_idle: int
    kv_free: int

    @classmethod
    def of(cls, snapshot: Snapshot, at: int) -> "Metrics":
        return cls(
            at=at,
            num_waiting=snapshot.num_waiting,
            num_running=snapshot.num_running,
            kv_total=snapshot.kv_total,
            kv_held=snapshot.kv_tokens_stored + snapshot.kv_tail_waste + snapshot.kv_reserved_unused,
            kv_cached_idle=snapshot.kv_cached_idle,
            kv_free=snapshot.kv_free,
        )

    @classmethod
    def of_empty(cls, config: EngineConfig, at: int) -> "Metrics":
        """Of an engine that has just started."""
        kv_total = config.num_blocks * config.block_size
        return cls(
            at=at, num_waiting=0, num_running=0, kv_total=kv_total, kv_held=0, kv_cached_idle=0, kv_free=kv_total
        )


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """index: its number in the fleet. name: of its hardware or profile. role: "both", "prefill" or "decode".

    cost: its profile's cost model; None: its step times cannot be predicted. Errors: ConfigError for another role.
    """

    index: int
    name: str
    config: EngineConfig
    role: str = "both"
    cost: CostModel | None = None

    def __post_init__(self) -> None:
        known("role", self.role, ROLES)


@dataclass(slots=True, eq=False)
class ReplicaBooks:
    """What the front knows of a replica; nobody else changes it. See ReplicaView.

    watch: reads metrics as they are; None: they are those published.
    """

    spec: ReplicaSpec
    metrics: Metrics
    watch: Callable[[], Metrics] | None = None
    in_flight: int = 0
    in_flight_tokens: int = 0
    in_flight_prefills: int = 0
    in_flight_prefill_tokens: int = 0


class ReplicaView:
    """A replica as a router sees it. One object a replica for the whole run: usable as a dictionary key."""

    __slots__ = ("_books",)
    _books: ReplicaBooks

    def __init__(self, books: ReplicaBooks) -> None:
        object.__setattr__(self, "_books", books)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a router cannot change a replica: {name} is read-only")

    def __repr__(self) -> str:
        return f"<replica {self.index}, {self.name}>"

    @property
    def index(self) -> int:
        """Its number in the fleet."""
        return self._books.spec.index

    @property
    def name(self) -> str:
        """Of its hardware or profile."""
        return self._books.spec.name

    @property
    def role(self) -> str:
        """ "both", or "prefill" or "decode" where the two are served apart."""
        return self._books.spec.role

    @property
    def config(self) -> EngineConfig:
        return self._books.spec.config

    @property
    def max_num_seqs(self) -> int:
        return self._books.spec.config.max_num_seqs

    @property
    def block_size(self) -> int:
        """Tokens a KV block."""
        return self._books.spec.config.block_size

    @property
    def in_flight(self) -> int:
        """Requests placed there that have not ended, running or waiting."""
        return self._books.in_flight

    @property
    def in_flight_tokens(self) -> int:
        """Tokens of the requests in flight when they were placed: prompts, and output they had from elsewhere."""
        return self._books.in_flight_tokens

    @property
    def in_flight_prefills(self) -> int:
        """Of the requests in flight, those that have got no token there yet."""
        return self._books.in_flight_prefills

    @property
    def in_flight_prefill_tokens(self) -> int:
        """Their tokens, counted likewise; what need not be computed (prefix hits, KV that came along) is included."""
        return self._books.in_flight_prefill_tokens

    @property
    def metrics(self) -> Metrics:
        """As last published, of an empty engine until then; or as they are, where the world lets it look."""
        books = self._books
        return books.metrics if books.watch is None else books.watch()

    @property
    def knows_cost(self) -> bool:
        """Whether step_time can answer."""
        return self._books.spec.cost is not None

    def step_time(self, step: StepFeatures) -> int:
        """Predicted nanoseconds from schedule() to tokens on the host. Errors: ConfigError without a cost model."""
        cost = self._books.spec.cost
        if cost is None:
            raise ConfigError(f"replica {self.index} has no cost model to predict a step's time with: give a profile")
        return cost.schedule_time(step) + cost.execute_time(step)

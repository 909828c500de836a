"""What an entry of a spec, `[[client]]`, can say whatever its kind is."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workloads.population.values import Process, Quantity
from workloads.request import MAX_TOKENS, WorkloadRequest

if TYPE_CHECKING:
    from workloads.population.client import Client

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServiceLevel(Strict):
    """ttft, tpot: seconds that a request's TTFT and TPOT should stay within."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None


class Entry(Strict, ABC):
    """`count` clients of one kind.

    kind: one of kinds.py.
    name: in ids of requests; tenant too, unless that is given.
    prompt: tokens of a request's own text. output: tokens of what it gets. system_prompt: tokens that begin each first
        prompt, the same for all clients of the entry.
    max_context: prompt and output tokens together that a request may have; a longer one is not sent, which ends its
        session.
    vary: how much the clients differ: each draws factors for its mean prompt, its mean output, and the cv of its
        arrivals if they have one, from a lognormal distribution of mean 1 with this sigma.
    """

    kind: str
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")
    tenant: str = ""
    count: int = Field(default=1, ge=1, le=100_000)
    prompt: Quantity
    output: Quantity
    system_prompt: int = Field(default=0, ge=0, le=MAX_TOKENS)
    max_context: Tokens = 2 * MAX_TOKENS
    vary: float = Field(default=0.0, ge=0.0, le=2.0)
    slo: ServiceLevel = ServiceLevel()
    priority: int = 0

    @abstractmethod
    def draw(self, clients: Sequence["Client"], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        """All requests of the entry's clients. tally: what was left out, and how often. Errors: ConfigError."""


class OpenEntry(Entry):
    """Clients who begin sessions, or send single requests, whatever becomes of those before.

    rate: of all clients of the entry together, per second. arrivals: the process of each.
    skew: exponent of the Zipf law by which the clients share the rate; 0: all the same.
    """

    rate: float = Field(gt=0, allow_inf_nan=False)
    skew: float = Field(default=0.0, ge=0.0, le=10.0)
    arrivals: Process

    @model_validator(mode="after")
    def _skew_has_effect(self) -> "OpenEntry":
        if self.skew and self.count == 1:
            raise ValueError("skew has no effect with one client; raise count or leave it out")
        return self

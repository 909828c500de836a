"""One client of an entry: its share of the rate, its own lengths, its random streams, and the requests it writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from records.units import nanoseconds
from serving.errors import ConfigError
from workloads.arrivals.base import ArrivalProcess
from workloads.distributions.base import Distribution, whole
from workloads.population.entry import Entry
from workloads.request import WorkloadRequest
from workloads.streams import stream

_BLOCK = 256
"""Quantities drawn at a time; how many does not change what is drawn."""

_LONGEST_S = 1e6


@dataclass(frozen=True)
class Client:
    """entry: what it is one of. number: which, from 0. seed: of the whole workload.

    rate: its share of the entry's, per second. horizon: seconds in which it begins.
    """

    entry: Entry
    number: int
    seed: int
    rate: float
    horizon: float

    @cached_property
    def name(self) -> str:
        """Ids of its requests begin with it; they carry the seed, so seeds share no prompts."""
        digits = len(str(self.entry.count - 1))
        return f"{self.seed}/{self.entry.name}/{self.number:0{digits}}"

    @cached_property
    def prefix(self) -> tuple[tuple[str, int], ...]:
        """What each of its first prompts begins with."""
        length = self.entry.system_prompt
        return ((f"{self.seed}/{self.entry.name}/system", length),) if length else ()

    def stream(self, purpose: str) -> np.random.Generator:
        return stream(self.seed, f"population {self.entry.name} {self.number} {purpose}")

    def begins(self, arrivals: ArrivalProcess) -> list[int]:
        """When it begins a session, or sends a request: integer nanoseconds before the horizon."""
        return arrivals.times_cv(self._factors[2]).until(self.rate, self.horizon, self.stream("arrivals"))

    def prompts(self) -> Iterator[int]:
        """Endless: tokens of own texts."""
        return self.tokens("prompts", self.entry.prompt, self._factors[0])

    def outputs(self) -> Iterator[int]:
        """Endless: tokens of outputs."""
        return self.tokens("outputs", self.entry.output, self._factors[1])

    def tokens(self, purpose: str, quantity: Distribution, scale: float = 1.0, least: int = 1) -> Iterator[int]:
        """Endless: whole numbers, at least `least`."""
        rng = self.stream(purpose)
        while True:
            yield from whole(quantity, _BLOCK, rng, scale=scale, least=least)

    def pauses(self, purpose: str, quantity: Distribution) -> Iterator[int]:
        """Endless: integer nanoseconds of a distribution of seconds. Errors: ConfigError above 11 days."""
        rng = self.stream(purpose)
        while True:
            drawn = quantity.sample(_BLOCK, rng)
            if not drawn.max() <= _LONGEST_S:
                raise ConfigError(f"a pause of {drawn.max():g} s was drawn; the most is {_LONGEST_S:g} s")
            yield from (nanoseconds(float(pause)) for pause in drawn)

    def first(
        self,
        request_id: str,
        at: int,
        own: int,
        output: int,
        *,
        session_id: str = "",
        parent: tuple[str, ...] = (),
        think_time: int = 0,
        documents: Sequence[tuple[str, int]] = (),
    ) -> WorkloadRequest | None:
        """A prompt of system prompt, documents and own text; None if it is too long. at, think_time: nanoseconds."""
        prefix = (*self.prefix, *documents)
        return self._request(
            request_id,
            at,
            sum(length for _, length in prefix) + own,
            output,
            session_id=session_id,
            parent=parent,
            think_time=think_time,
            prefix=prefix,
        )

    def next_turn(
        self,
        before: WorkloadRequest,
        request_id: str,
        own: int,
        output: int,
        *,
        think_time: int,
        also_after: tuple[str, ...] = (),
    ) -> WorkloadRequest | None:
        """A prompt of all that was said up to the end of `before`, and own text; None if it is too long."""
        return self._request(
            request_id,
            before.arrival_time,
            before.prompt_len + before.output_len + own,
            output,
            session_id=before.session_id,
            turn=before.turn + 1,
            parent=(before.request_id, *also_after),
            think_time=think_time,
        )

    def _request(
        self,
        request_id: str,
        at: int,
        prompt_len: int,
        output_len: int,
        *,
        session_id: str,
        parent: tuple[str, ...],
        think_time: int,
        turn: int = 1,
        prefix: tuple[tuple[str, int], ...] = (),
    ) -> WorkloadRequest | None:
        entry = self.entry
        if prompt_len + output_len > entry.max_context:
            return None
        return WorkloadRequest(
            request_id=request_id,
            arrival_time=at,
            prompt_len=prompt_len,
            output_len=output_len,
            max_tokens=output_len,
            priority=entry.priority,
            tenant=entry.tenant or entry.name,
            session_id=session_id,
            turn=turn,
            parent=parent,
            think_time=think_time,
            prefix=prefix,
            ttft_slo=None if entry.slo.ttft is None else nanoseconds(entry.slo.ttft),
            tpot_slo=None if entry.slo.tpot is None else nanoseconds(entry.slo.tpot),
        )

    @cached_property
    def _factors(self) -> tuple[float, float, float]:
        """Of mean prompt, mean output and cv, around the entry's."""
        sigma = self.entry.vary
        prompt, output, cv = np.exp(sigma * self.stream("factors").standard_normal(3) - sigma**2 / 2)
        return float(prompt), float(output), float(cv)

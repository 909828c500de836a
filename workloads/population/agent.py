"""Programs of calls: a chain in which tools run, or sub-agents work in parallel, between one call and the next.

    call 1 -- tool --> call 2 --+--> sub-agent 1: call -- tool --> call --+--> call 3 ...
                                +--> sub-agent 2: call -------------------+

Serving systems that schedule whole programs look at such graphs: Autellix (Luo et al., arXiv 2502.13965).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from workloads.distributions.families import Constant
from workloads.population.client import Client
from workloads.population.entry import OpenEntry
from workloads.population.values import Quantity
from workloads.request import WorkloadRequest


class Agent(OpenEntry):
    """rate: programs begun per second. prompt: tokens of a task, given to the program and to each of its sub-agents.

    steps: calls of a program's own chain. gap: seconds that a tool runs. result: tokens that it returns, read by the
        next call.
    branching: how many sub-agents a call starts; 0: a tool runs instead. They start at once, and the next call comes
        when the last of them has ended; what they say last is in its prompt. sub_steps: calls of a sub-agent's chain.
    history: share of the steps that repeat the prompt and the output of the call before; others start from the system
        prompt and what tool or sub-agents returned.
    A program is a session.
    """

    kind: Literal["agent"]
    steps: Quantity
    gap: Quantity
    result: Quantity
    branching: Quantity = Constant(0)
    sub_steps: Quantity | None = None
    history: float = Field(default=1.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _no_idle_option(self) -> "Agent":
        if self.sub_steps is not None and self.branching == Constant(0):
            raise ValueError("sub_steps has no effect without branching")
        return self

    def draw(self, clients: Sequence[Client], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        for client in clients:
            begins, supply = client.begins(self.arrivals), _Supply(self, client)
            digits = len(str(len(begins)))
            for i, at in enumerate(begins, 1):
                program = _Program(client, supply, f"{client.name}/{i:0{digits}}", at)
                program.run(next(supply.steps), self.history)
                if program.cut:
                    found = "programs cut by max_context" if program.calls else "programs above max_context left out"
                    tally[found] += 1
                yield from program.calls


class _Supply:
    """What a client's programs draw from: one stream for each purpose."""

    def __init__(self, entry: Agent, client: Client) -> None:
        self.steps = client.tokens("steps", entry.steps)
        self.prompts = client.prompts()
        self.outputs = client.outputs()
        self.results = client.tokens("results", entry.result)
        self.gaps = client.pauses("gaps", entry.gap)
        self.branching = client.tokens("branching", entry.branching, least=0)
        self.sub_steps = client.tokens("sub-steps", entry.sub_steps or Constant(1))
        self.history = client.stream("history")


@dataclass
class _Program:
    """calls: all of it, each behind its parents. cut: whether max_context ended it, or one of its sub-agents."""

    client: Client
    supply: _Supply
    session_id: str
    at: int

    def __post_init__(self) -> None:
        self.calls: list[WorkloadRequest] = []
        self.cut = False

    def run(self, steps: int, history: float) -> None:
        """history: share of steps that repeat what was said before."""
        digits = len(str(steps))
        call = self._task(f"{self.session_id}/{1:0{digits}}", ())
        for step in range(2, steps + 1):
            if call is None:
                return
            request_id = f"{self.session_id}/{step:0{digits}}"
            sub_agents = [self._sub_agent(call, i) for i in range(1, next(self.supply.branching) + 1)]
            ends = [end for end in sub_agents if end is not None]
            repeats = bool(self.supply.history.random() < history)
            if ends:
                call = self._step(call, request_id, sum(end.output_len for end in ends), 0, repeats, ends)
            else:
                call = self._tool(call, request_id, repeats)

    def _sub_agent(self, planner: WorkloadRequest, number: int) -> WorkloadRequest | None:
        """Its last call; None if its task alone is too long."""
        name = f"{planner.request_id}.{number}"
        steps = next(self.supply.sub_steps)
        digits = len(str(steps))
        last = call = self._task(f"{name}/{1:0{digits}}", (planner.request_id,))
        for step in range(2, steps + 1):
            if call is not None:
                last, call = call, self._tool(call, f"{name}/{step:0{digits}}", repeats=True)
        return last if call is None else call

    def _task(self, request_id: str, parent: tuple[str, ...]) -> WorkloadRequest | None:
        own, output = next(self.supply.prompts), next(self.supply.outputs)
        return self._kept(
            self.client.first(request_id, self.at, own, output, session_id=self.session_id, parent=parent)
        )

    def _tool(self, before: WorkloadRequest, request_id: str, repeats: bool) -> WorkloadRequest | None:
        return self._step(before, request_id, next(self.supply.results), next(self.supply.gaps), repeats, ())

    def _step(
        self,
        before: WorkloadRequest,
        request_id: str,
        returned: int,
        gap: int,
        repeats: bool,
        ends: Sequence[WorkloadRequest],
    ) -> WorkloadRequest | None:
        """The call behind `before` and behind the ends of sub-agents, which reads the tokens that were returned."""
        output, after = next(self.supply.outputs), tuple(end.request_id for end in ends)
        if repeats:
            call = self.client.next_turn(before, request_id, returned, output, think_time=gap, also_after=after)
        else:
            call = self.client.first(
                request_id,
                self.at,
                returned,
                output,
                session_id=self.session_id,
                parent=(before.request_id, *after),
                think_time=gap,
            )
        return self._kept(call)

    def _kept(self, call: WorkloadRequest | None) -> WorkloadRequest | None:
        if call is None:
            self.cut = True
        else:
            self.calls.append(call)
        return call

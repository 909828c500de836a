"""A closed loop: a fixed number of users, each of whom sends the next request only when the last one was answered."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from workloads.population.client import Client
from workloads.population.entry import Entry
from workloads.population.values import Quantity
from workloads.request import WorkloadRequest


class Users(Entry):
    """`count` users; they begin by thinking.

    think: seconds between an answer and the next request. requests_per_user: how many each sends. history: whether a
        request repeats all that was said before; the next after max_context is reached begins anew.
    """

    kind: Literal["users"]
    think: Quantity
    requests_per_user: int = Field(ge=1, le=1_000_000)
    history: bool = False

    def draw(self, clients: Sequence[Client], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        digits = len(str(self.requests_per_user))
        for client in clients:
            prompts, outputs, thinks = client.prompts(), client.outputs(), client.pauses("think", self.think)
            last: WorkloadRequest | None = None
            for i in range(1, self.requests_per_user + 1):
                request_id = f"{client.name}/{i:0{digits}}"
                own, output, think = next(prompts), next(outputs), next(thinks)
                request = None
                if last is not None and self.history:
                    request = client.next_turn(last, request_id, own, output, think_time=think)
                    if request is None:
                        tally["chats begun anew at max_context"] += 1
                if request is None:
                    request = client.first(
                        request_id,
                        at=think if last is None else last.arrival_time,
                        own=own,
                        output=output,
                        session_id=request_id if self.history else client.name,
                        parent=() if last is None else (last.request_id,),
                        think_time=0 if last is None else think,
                    )
                if request is None:
                    tally["requests above max_context left out"] += 1
                else:
                    yield request
                    last = request

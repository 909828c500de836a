"""Conversations: each prompt repeats all that was said before, and adds the user's next text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from workloads.population.client import Client
from workloads.population.entry import OpenEntry
from workloads.population.values import Quantity
from workloads.request import WorkloadRequest


class Chat(OpenEntry):
    """rate: sessions begun per second. turns: of a session. think: seconds between an answer and the next prompt."""

    kind: Literal["chat"]
    turns: Quantity
    think: Quantity

    def draw(self, clients: Sequence[Client], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        for client in clients:
            begins, turns = client.begins(self.arrivals), client.tokens("turns", self.turns)
            prompts, outputs, thinks = client.prompts(), client.outputs(), client.pauses("think", self.think)
            digits = len(str(len(begins)))
            for i, at in enumerate(begins, 1):
                texts = [(next(prompts), next(outputs), next(thinks)) for _ in range(next(turns))]
                said = _session(client, f"{client.name}/{i:0{digits}}", at, texts)
                if len(said) < len(texts):
                    tally["sessions ended by max_context" if said else "sessions above max_context left out"] += 1
                yield from said


def _session(client: Client, session_id: str, at: int, texts: Sequence[tuple[int, int, int]]) -> list[WorkloadRequest]:
    """texts: own prompt, output, and nanoseconds of thinking before it, of each turn."""
    digits = len(str(len(texts)))
    said: list[WorkloadRequest] = []
    for turn, (own, output, think_time) in enumerate(texts, 1):
        request_id = f"{session_id}/{turn:0{digits}}"
        if said:
            request = client.next_turn(said[-1], request_id, own, output, think_time=think_time)
        else:
            request = client.first(request_id, at, own, output, session_id=session_id)
        if request is None:
            break
        said.append(request)
    return said

"""Single requests, independent of each other."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from workloads.population.client import Client
from workloads.population.entry import OpenEntry
from workloads.request import WorkloadRequest


class Requests(OpenEntry):
    """rate: requests per second."""

    kind: Literal["requests"]

    def draw(self, clients: Sequence[Client], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        for client in clients:
            begins, prompts, outputs = client.begins(self.arrivals), client.prompts(), client.outputs()
            digits = len(str(len(begins)))
            for i, at in enumerate(begins, 1):
                request = client.first(f"{client.name}/{i:0{digits}}", at, next(prompts), next(outputs))
                if request is None:
                    tally["requests above max_context left out"] += 1
                else:
                    yield request

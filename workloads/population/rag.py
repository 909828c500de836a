"""Retrieval-augmented generation: a prompt is a system prompt, retrieved documents, and a question.

Few documents are retrieved again and again, and their KV can be found again only where all in front of them is the same
too, so their order decides what a prefix cache finds: RAGCache (Jin et al., arXiv 2404.12457) counts 3 % of the
documents in 60 % of the retrievals.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from workloads.distributions.base import whole
from workloads.population.client import Client
from workloads.population.entry import OpenEntry
from workloads.population.values import Quantity
from workloads.population.zipf import zipf_shares
from workloads.request import WorkloadRequest
from workloads.streams import stream


class Rag(OpenEntry):
    """rate: requests per second. prompt: tokens of the question.

    documents: how many there are, the same for all clients of the entry. document: tokens of one, drawn once for each.
    retrieve: how many different ones a request gets, each time one that it has not yet by Zipf(alpha) popularity.
    order: in which it has them: "random", as relevance to a question knows nothing of popularity; or "popularity", the
        most popular first, as a system would have them that arranges for its cache.
    """

    kind: Literal["rag"]
    documents: int = Field(ge=1, le=1_000_000)
    document: Quantity
    retrieve: int = Field(ge=1)
    alpha: float = Field(ge=0.0, le=10.0)
    order: Literal["random", "popularity"] = "random"

    @model_validator(mode="after")
    def _enough(self) -> "Rag":
        if self.retrieve > self.documents:
            raise ValueError(f"retrieve is {self.retrieve}, but there are {self.documents} documents")
        return self

    def draw(self, clients: Sequence[Client], tally: Counter[str]) -> Iterator[WorkloadRequest]:
        seed = clients[0].seed
        lengths = whole(self.document, self.documents, stream(seed, f"population {self.name} documents"))
        library = [(f"{seed}/{self.name}/document {i}", length) for i, length in enumerate(lengths, 1)]
        popularity = zipf_shares(self.documents, self.alpha)
        for client in clients:
            begins, prompts, outputs = client.begins(self.arrivals), client.prompts(), client.outputs()
            retrieval = client.stream("retrieval")
            digits = len(str(len(begins)))
            for i, at in enumerate(begins, 1):
                # The first of exponential clocks that run at the popularities: sampling without replacement.
                clocks = retrieval.standard_exponential(self.documents) / popularity
                found = np.argpartition(clocks, self.retrieve - 1)[: self.retrieve]
                found = np.sort(found) if self.order == "popularity" else retrieval.permutation(np.sort(found))
                request = client.first(
                    f"{client.name}/{i:0{digits}}",
                    at,
                    next(prompts),
                    next(outputs),
                    documents=[library[number] for number in found.tolist()],
                )
                if request is None:
                    tally["requests above max_context left out"] += 1
                else:
                    yield request

"""Draw the workload of a spec: each entry from random streams of its own, so that one more leaves the others alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from workloads.population.client import Client
from workloads.population.entry import Entry, OpenEntry
from workloads.population.spec import Spec
from workloads.population.zipf import zipf_shares
from workloads.request import WorkloadRequest
from workloads.workload import Workload

MOST_REQUESTS = 10_000_000


@dataclass(frozen=True)
class Part:
    """What one entry brought.

    begun: requests that wait for no other: single ones, first turns, first calls of programs.
    shared_tokens: prompt tokens that are a prefix or a history, so that another request has them too, or had.
    """

    entry: Entry
    requests: int
    begun: int
    prompt_tokens: int
    output_tokens: int
    shared_tokens: int


def compose(spec: Spec, seed: int, name: str) -> tuple[Workload, list[Part], list[str]]:
    """The workload, what each entry brought, and notes for a person: what max_context left out.

    Same spec and seed, same bytes. Errors: ConfigError naming the client; WorkloadError if nobody begins in time.
    """
    everything: list[WorkloadRequest] = []
    parts: list[Part] = []
    notes: list[str] = []
    for entry in spec.entries:
        tally: Counter[str] = Counter()
        clients = [Client(entry, i, seed, rate, spec.horizon) for i, rate in enumerate(client_rates(entry))]
        try:
            drawn = _bounded(entry, clients, MOST_REQUESTS - len(everything), tally)
        except ConfigError as error:
            raise ConfigError(f"client {entry.name}: {error}") from error
        parts.append(_part(entry, drawn))
        notes += [f"client {entry.name}: {count} {what}" for what, count in tally.items()]
        everything += drawn
    return Workload(name, tuple(everything)), parts, notes


def client_rates(entry: Entry) -> list[float]:
    """Of each client of the entry, per second; 0 where it is the answers that set the pace."""
    if not isinstance(entry, OpenEntry):
        return [0.0] * entry.count
    rates: list[float] = (zipf_shares(entry.count, entry.skew) * entry.rate).tolist()
    return rates


def _bounded(entry: Entry, clients: Sequence[Client], most: int, tally: Counter[str]) -> list[WorkloadRequest]:
    drawn: list[WorkloadRequest] = []
    for request in entry.draw(clients, tally):
        if len(drawn) == most:
            raise ConfigError(f"the workload has more than {MOST_REQUESTS} requests; lower the rate or the horizon")
        drawn.append(request)
    return drawn


def _part(entry: Entry, drawn: Sequence[WorkloadRequest]) -> Part:
    by_id = {request.request_id: request for request in drawn}
    shared = 0
    for request in drawn:
        shared += sum(length for _, length in request.prefix)
        if request.turn > 1:
            before = by_id[request.parent[0]]
            shared += before.prompt_len + before.output_len
    return Part(
        entry=entry,
        requests=len(drawn),
        begun=sum(not request.parent for request in drawn),
        prompt_tokens=sum(request.prompt_len for request in drawn),
        output_tokens=sum(request.output_len for request in drawn),
        shared_tokens=shared,
    )

"""How far two runs of the same requests differ as a whole: their steps, and what became of each request."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from records.run import RunRecord
from records.step_columns import named_steps

PER_REQUEST = ("status", "output_len", "num_preemptions", "num_cached")
MEANS = ("num_seqs", "num_tokens", "num_waiting", "num_running", "execute_s")
_COLUMNS = ("num_seqs", "num_tokens", "num_waiting", "num_running", "launch_s", "host_s")


@dataclass(frozen=True)
class Overtaking:
    """First admissions in another order, over the requests that both runs admitted.

    num_pairs: pairs of requests in opposite orders. overtaken: request -> by how many in B that A admits after it; the
    most overtaken first.
    """

    num_pairs: int
    overtaken: Mapping[str, int]


@dataclass(frozen=True)
class RunDifference:
    """num_equal_batches: steps before the first with other requests in it, or other numbers of tokens of them.

    requests: number of requests that differ in their chunks (tokens computed, step by step), and in each column of
    PER_REQUEST. num_tokens: computed, of A and of B. means: of a step, of A and of B; of its queues after schedule();
    execute_s in seconds; None for a run without steps.
    """

    num_requests: int
    num_steps: tuple[int, int]
    num_equal_batches: int
    requests: Mapping[str, int]
    admission: Overtaking
    num_tokens: tuple[int, int]
    means: Mapping[str, tuple[float | None, float | None]]


def run_difference(a: RunRecord, b: RunRecord) -> RunDifference:
    x, y = _Steps(a), _Steps(b)
    chunks = sum(x.chunks.get(r) != y.chunks.get(r) for r in dict.fromkeys([*x.chunks, *y.chunks]))
    rows_a, rows_b = (record.requests.set_index("request_id") for record in (a, b))
    rows_b = rows_b.loc[rows_a.index]
    columns = {name: int((rows_a[name] != rows_b[name]).sum()) for name in PER_REQUEST}
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(_batches(a), _batches(b), strict=False))
    return RunDifference(
        num_requests=len(rows_a),
        num_steps=(x.count, y.count),
        num_equal_batches=sum(1 for _ in equal),
        requests={"chunks": chunks, **columns},
        admission=overtaking(list(x.admitted), list(y.admitted)),
        num_tokens=(int(x.totals["num_tokens"]), int(y.totals["num_tokens"])),
        means={name: (x.mean(name), y.mean(name)) for name in MEANS},
    )


def overtaking(a: Sequence[str], b: Sequence[str]) -> Overtaking:
    """a, b: request ids in order of first admission."""
    rank = {request_id: i for i, request_id in enumerate(b)}
    overtaken: dict[str, int] = {}
    later: list[int] = []
    for request_id in reversed([r for r in a if r in rank]):
        by = bisect_left(later, rank[request_id])
        if by:
            overtaken[request_id] = by
        insort(later, rank[request_id])
    ordered = sorted(overtaken, key=lambda r: (-overtaken[r], rank[r]))
    return Overtaking(sum(overtaken.values()), {r: overtaken[r] for r in ordered})


class _Steps:
    """What a pass over all steps gathers. chunks: per request. admitted: in order, each once."""

    def __init__(self, record: RunRecord) -> None:
        self.count = 0
        self.chunks: dict[str, list[int]] = {}
        self.admitted: dict[str, None] = {}
        self.totals = dict.fromkeys(MEANS, 0.0)
        for step in named_steps(record, [*_COLUMNS, "batch_request", "batch_tokens", "admitted"]):
            self.count += 1
            for request_id, tokens in zip(step["batch_request"], step["batch_tokens"], strict=True):
                self.chunks.setdefault(request_id, []).append(tokens)
            self.admitted.update(dict.fromkeys(step["admitted"]))
            step["execute_s"] = step["host_s"] - step["launch_s"]
            for name in MEANS:
                self.totals[name] += step[name]

    def mean(self, name: str) -> float | None:
        return self.totals[name] / self.count if self.count else None


def _batches(record: RunRecord) -> Iterable[tuple[list[str], list[int]]]:
    return ((s["batch_request"], s["batch_tokens"]) for s in named_steps(record, ["batch_request", "batch_tokens"]))

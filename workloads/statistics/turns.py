"""How many requests a session has: as stated, or as the prefixes of a trace without sessions suggest."""

from collections import Counter
from dataclasses import dataclass

from workloads.statistics.prefixes import block_of, chained_blocks
from workloads.statistics.summary import Summary, summary
from workloads.workload import Workload, WorkloadRequest


@dataclass(frozen=True)
class TurnStatistics:
    """inferred: sessions are not stated. requests_per_session: mean. turn: which in its session each request is."""

    inferred: bool
    sessions: int
    requests_per_session: float
    turn: Summary


def turn_statistics(workload: Workload) -> TurnStatistics | None:
    """None: the workload has neither sessions nor hash ids."""
    turns = turns_of(workload)
    if turns is None:
        return None
    sessions = turns.count(1)
    return TurnStatistics(not _are_stated(workload), sessions, len(turns) / sessions, summary(turns))


def turns_of(workload: Workload) -> list[int] | None:
    """Which in its session each request is, from 1; None as above."""
    if _are_stated(workload):
        return _stated(workload.requests)
    return _inferred(workload) if all(r.hash_ids is not None for r in workload.requests) else None


def _are_stated(workload: Workload) -> bool:
    return any(r.parent or r.session_id for r in workload.requests)


def _stated(requests: tuple[WorkloadRequest, ...]) -> list[int]:
    """A session is who has its session_id, or waits for a member; who waits for two belongs to the first."""
    known = {r.request_id: r for r in requests}
    session_of: dict[str, str] = {}
    for request in requests:
        path = [request]
        while path[-1].request_id not in session_of and not path[-1].session_id and path[-1].parent:
            path.append(known[path[-1].parent[0]])
        last = path[-1]
        session = session_of.get(last.request_id) or (
            f"session {last.session_id}" if last.session_id else f"request {last.request_id}"
        )
        session_of.update((r.request_id, session) for r in path)
    seen: Counter[str] = Counter()
    turns = []
    for request in requests:
        session = session_of[request.request_id]
        seen[session] += 1
        turns.append(seen[session])
    return turns


def _inferred(workload: Workload) -> list[int]:
    """A request is the turn after an earlier one whose blocks, all but the last, it begins with.

    The first block alone is no sign of a session: many share a system prompt.
    """
    chains = [ids for _, ids in chained_blocks(workload, block_of(workload))]
    turn_of: dict[int, int] = {}
    turns = []
    for ids in chains:
        turn = 1
        for i in range(len(ids) - 1, 0, -1):
            if ids[i] in turn_of:
                turn = turn_of[ids[i]] + 1
                break
        turns.append(turn)
        if len(ids) > 1:
            turn_of[ids[-2]] = turn
    return turns

"""A scheduler under watch: after every call, what must always hold is checked from outside (docs/invariants.md).

`Watched` keeps the naive books of somebody who knows only the contract (serving/schedule/contract.py): who was added,
which tokens each request has, and, from the plans alone, which blocks are in its table and what every slot of device
and host memory holds. One function per invariant, named by its number. Longer than most files here because those
functions share one set of books. Slow by design: for tests and check_policy, not for experiments.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.errors import InvariantError, RequestError, ServetwinError
from serving.request import Request, Status
from serving.schedule.contract import Idle, Outcome, Plan, Snapshot
from serving.schedule.scheduler import Scheduler

NOTHING = -1
"""In a slot of KV memory that nobody has written."""


@dataclass(eq=False)
class Entry:
    """The books about one request.

    tokens: prompt, and the output that was accepted. chain: for each, the number of that sequence of tokens up to it;
        two requests have the same number where they began alike.
    table: its blocks, as the plans told. end: its tokens stored, those of steps in flight included.
    cached: of these, those that were there when it was last admitted. pending: its tokens sampled by steps in flight.
    computed, hits, repaired, lost: tokens in total: in plans; stored on admission; of hits, computed again; given up.
    times: of the calls in which it was added, first admitted, given its first token, ended.
    """

    request: Request
    tokens: list[int]
    chain: list[int]
    status: Status = Status.WAITING
    table: list[int] = field(default_factory=list)
    end: int = 0
    cached: int = 0
    pending: int = 0
    computed: int = 0
    hits: int = 0
    repaired: int = 0
    lost: int = 0
    times: dict[str, int] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def alive(self) -> bool:
        return self.status not in (Status.FINISHED, Status.ABORTED)


@dataclass(frozen=True)
class Flight:
    """A plan in flight, with the entries of its batch and their tables when it was made."""

    plan: Plan
    entries: list[Entry]
    tables: list[list[int]]


LEGAL = {
    Status.WAITING: (Status.RUNNING, Status.ABORTED),
    Status.RUNNING: (Status.PREEMPTED, Status.FINISHED, Status.ABORTED),
    Status.PREEMPTED: (Status.RUNNING, Status.FINISHED, Status.ABORTED),
    Status.FINISHED: (),
    Status.ABORTED: (),
}


class Watched:
    """Drive it in place of the scheduler. Errors: InvariantError that names invariant, step and request.

    What the scheduler raises is passed on; after a PolicyError out of add(), abort() or complete() the books are void.
    work_conserving: the policy never holds anybody back, so an idle engine has no work.
    limits_prefill_only: nano-vLLM's limits: the token budget is for prompts, and the seats are those of a batch, so
        more may be running.
    """

    def __init__(
        self, scheduler: Scheduler, *, work_conserving: bool = False, limits_prefill_only: bool = False
    ) -> None:
        config = scheduler.config
        self.scheduler = scheduler
        self.config = config
        self.work_conserving = work_conserving
        self.limits_prefill_only = limits_prefill_only
        self.live: dict[str, Entry] = {}
        self.in_flight: deque[Flight] = deque()
        self.ended: list[str] = []  # since the last plan
        self.gave_way: list[str] = []  # told by an idle step, to be told again by the next plan
        self.counts = dict.fromkeys(("added", "rejected", "finished", "aborted"), 0)
        self.step = 0
        self.now = 0
        self.unsettled = False  # a schedule() raised: only the next plan tells what it did before
        self.device = [[NOTHING] * config.block_size for _ in range(config.num_blocks)]
        self.host = [[NOTHING] * config.block_size for _ in range(config.num_host_blocks)]
        self._numbers: dict[tuple[int, int], int] = {}

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    @property
    def max_in_flight(self) -> int:
        return self.scheduler.max_in_flight

    def snapshot(self) -> Snapshot:
        snapshot = self.scheduler.snapshot()
        check_i1(self, snapshot)
        check_i17(self, snapshot)
        return snapshot

    def add(self, request: Request, now: int) -> None:
        check_i3(self, now)
        self.counts["added"] += 1
        try:
            self.scheduler.add(request, now)
        except RequestError:
            self.counts["rejected"] += 1
            self.check()
            raise
        if request.request_id in self.live:
            raise broken("I1", self, request.request_id, "was added while a request of this id is being served")
        entry = Entry(request, [], [], times={"added": now})
        self.live[request.request_id] = entry
        self._append(entry, request.prompt_token_ids)
        self.check()

    def abort(self, request_id: str, now: int) -> None:
        check_i3(self, now)
        self.scheduler.abort(request_id, now)
        entry = self.live.get(request_id)
        if entry is not None:
            self._end(entry, Status.ABORTED)
        self.check()

    def schedule(self, now: int) -> Plan | Idle:
        check_i3(self, now)
        try:
            plan = self.scheduler.schedule(now)
        except ServetwinError:
            self.unsettled = True
            self.scheduler.check()
            raise
        if isinstance(plan, Idle):
            check_i8(self, plan)
            for request_id in plan.preempted:
                self._preempt(request_id)
            self.gave_way += plan.preempted
        else:
            self._follow(plan)
        self.check()
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        check_i3(self, now)
        try:
            outcome = self.scheduler.complete(step_id, tokens, now, ended)
        except InvariantError:
            self.check()
            raise
        flight = self.in_flight.popleft()
        check_i16(self, flight)
        check_i14(self, flight, tokens, outcome)
        self.check()
        return outcome

    def check(self) -> None:
        """Everything that holds between two calls."""
        self.scheduler.check()
        self.snapshot()

    def move(self, entry: Entry, status: Status) -> None:
        check_i2(self, entry, status)
        entry.status = status
        name = {Status.RUNNING: "admitted", Status.FINISHED: "ended", Status.ABORTED: "ended"}.get(status)
        if name is not None:
            entry.times.setdefault(name, self.now)

    def accept(self, entry: Entry, new: Sequence[int]) -> None:
        self._append(entry, new)
        if len(entry.tokens) > entry.request.prompt_len:
            entry.times.setdefault("first token", self.now)

    def finish(self, entry: Entry) -> None:
        check_i12_whole(self, entry)
        self._end(entry, Status.FINISHED)
        check_i5(self, entry)

    def _append(self, entry: Entry, new: Sequence[int]) -> None:
        for token in new:
            before = entry.chain[-1] if entry.chain else NOTHING
            entry.tokens.append(token)
            entry.chain.append(self._numbers.setdefault((before, token), len(self._numbers)))

    def _end(self, entry: Entry, status: Status) -> None:
        self.move(entry, status)
        self.counts["finished" if status is Status.FINISHED else "aborted"] += 1
        self.ended.append(entry.request_id)
        entry.table = []
        del self.live[entry.request_id]

    def _preempt(self, request_id: str) -> None:
        entry = self.of(request_id, "gave way")
        self.move(entry, Status.PREEMPTED)
        entry.lost += entry.end
        entry.end = entry.cached = 0
        entry.table = []

    def of(self, request_id: str, what: str) -> Entry:
        entry = self.live.get(request_id)
        if entry is None:
            raise broken("I2", self, request_id, f"{what}, but is not being served")
        return entry

    def _follow(self, plan: Plan) -> None:
        """Do to the books what the plan says, as a runner does; and check it on the way."""
        self.step = plan.step_id
        check_released(self, plan)
        self.ended.clear()
        for request_id in plan.preempted[len(self.gave_way) :]:
            self._preempt(request_id)
        self.gave_way.clear()
        self.unsettled = False
        new_blocks = dict(plan.new_blocks)
        for admission in plan.admitted:
            entry = self.of(admission.request_id, "is admitted")
            check_admission(self, entry, admission.token_ids, admission.num_cached)
            self.move(entry, Status.RUNNING)
            entry.end = entry.cached = admission.num_cached
            entry.hits += admission.num_cached
        for request_id, blocks in new_blocks.items():
            entry = self.of(request_id, "gets blocks")
            entry.table.extend(blocks)
            check_i4_table(self, entry)
        check_i12_step(self, plan)
        entries = []
        admitted = [admission.request_id for admission in plan.admitted]
        for request_id, start, n, samples in zip(
            plan.request_ids, plan.starts, plan.num_tokens, plan.samples, strict=True
        ):
            entry = self.of(request_id, "is in the batch")
            check_i12_request(self, entry, start, n, samples, request_id in admitted)
            entry.repaired += entry.end - start
            entry.computed += n
            entry.end = start + n
            entry.pending += samples
            entries.append(entry)
        check_i4_shared(self)
        self.in_flight.append(Flight(plan, entries, [list(entry.table) for entry in entries]))


def broken(invariant: str, watched: Watched, request_id: str | None, words: str) -> InvariantError:
    about = "" if request_id is None else f", request {request_id}"
    return InvariantError(f"{invariant}, step {watched.step}{about}: {words}")


def check_i1(watched: Watched, snapshot: Snapshot) -> None:
    """Everybody who was added is in exactly one place."""
    counts, live = watched.counts, watched.live
    gone = counts["rejected"] + counts["finished"] + counts["aborted"]
    if counts["added"] != gone + len(live):
        raise broken("I1", watched, None, f"{counts} and {len(live)} being served do not add up")
    if watched.has_work != bool(live):
        raise broken("I1", watched, None, f"has_work is {watched.has_work} with {len(live)} requests being served")
    waiting, running = watched.scheduler.waiting_ids(), watched.scheduler.running_ids()
    if sorted([*waiting, *running]) != sorted(live):
        raise broken("I1", watched, None, f"waiting {waiting} and running {running} are not those served {[*live]}")
    if (snapshot.num_waiting, snapshot.num_running) != (len(waiting), len(running)):
        raise broken("I1", watched, None, f"the snapshot counts otherwise than the queues: {snapshot}")
    if watched.unsettled:
        return
    for request_id in running:
        if live[request_id].status is not Status.RUNNING:
            raise broken("I1", watched, request_id, f"is running, but no plan admitted it: {live[request_id].status}")
    for request_id in waiting:
        entry = live[request_id]
        if entry.status is Status.RUNNING and entry.end >= len(entry.tokens):
            raise broken("I1", watched, request_id, "waits, though its prompt is computed and nothing preempted it")


def check_i2(watched: Watched, entry: Entry, status: Status) -> None:
    """Statuses follow each other as they may; only a token that was in flight can end a preempted request."""
    lawful = status in LEGAL[entry.status]
    if entry.status is Status.PREEMPTED and status is Status.FINISHED:
        lawful = watched.max_in_flight > 1
    if not lawful:
        raise broken("I2", watched, entry.request_id, f"went from {entry.status.value} to {status.value}")


def check_released(watched: Watched, plan: Plan) -> None:
    """I2, told: a plan names who ended, and who gave way, since the last one."""
    if sorted(plan.released) != sorted(watched.ended):
        raise broken("I2", watched, None, f"released {plan.released}, but {watched.ended} ended since the last plan")
    told = list(plan.preempted[: len(watched.gave_way)])
    if told != watched.gave_way:
        raise broken("I2", watched, None, f"preempted {plan.preempted}, but idle steps told of {watched.gave_way}")


def check_i3(watched: Watched, now: int) -> None:
    """The clock never goes back."""
    if now < watched.now:
        raise broken("I3", watched, None, f"told at {now} ns after {watched.now} ns")
    watched.now = now


def check_i4_table(watched: Watched, entry: Entry) -> None:
    """A table holds blocks of the pool, none twice."""
    wrong = [block for block in entry.table if not 0 <= block < watched.config.num_blocks]
    if wrong or len(set(entry.table)) != len(entry.table):
        raise broken("I4", watched, entry.request_id, f"its table is {entry.table} of {watched.config.num_blocks}")


def check_i4_shared(watched: Watched) -> None:
    """A block is in two tables only at the same place, for the same tokens, and by a hit for all but one."""
    size = watched.config.block_size
    holders: dict[int, tuple[Entry, int, bool]] = {}
    for entry in watched.live.values():
        for i, block in enumerate(entry.table):
            own = (i + 1) * size > entry.cached
            if block not in holders:
                holders[block] = (entry, i, own)
                continue
            other, at, others_own = holders[block]
            alike = entry.tokens[: (i + 1) * size] == other.tokens[: (i + 1) * size]
            if at != i or not alike or (own and others_own):
                raise broken("I4", watched, entry.request_id, f"holds block {block}, as {other.request_id} does")
            holders[block] = (entry, i, own or others_own)


def check_i5(watched: Watched, entry: Entry) -> None:
    """Added, admitted, first token, end: in this order."""
    times = [entry.times.get(name) for name in ("added", "admitted", "first token", "ended")]
    known = [time for time in times if time is not None]
    if len(known) < len(times) or known != sorted(known):
        raise broken("I5", watched, entry.request_id, f"its times are out of order, or missing: {entry.times}")


def check_i8(watched: Watched, idle: Idle) -> None:
    """An engine with nothing in flight idles only without work, or when the policy holds it back."""
    soon = watched.now if idle.preempted else watched.now + 1
    if idle.wake_at is not None and idle.wake_at < soon:
        raise broken("I8", watched, None, f"asks at {watched.now} ns to be asked again at {idle.wake_at} ns")
    if watched.work_conserving and watched.live and not watched.in_flight and not idle.preempted:
        raise broken("I8", watched, None, f"idle while {', '.join(watched.live)} wait")


def check_i12_step(watched: Watched, plan: Plan) -> None:
    """The batch keeps to the token budget, but for repairs, and to the seats; nobody is in it twice."""
    config = watched.config
    cached = {admission.request_id: admission.num_cached for admission in plan.admitted}
    repairs = sum(max(0, cached.get(r, 0) - start) for r, start in zip(plan.request_ids, plan.starts, strict=True))
    budget = config.max_num_batched_tokens
    if watched.limits_prefill_only and not plan.admitted and max(plan.num_tokens) == 1:
        budget = config.max_num_seqs
    if not 0 < sum(plan.num_tokens) - repairs <= budget:
        raise broken("I12", watched, None, f"{plan.num_tokens} tokens, {repairs} of them repairs, of {budget}")
    if len(plan.request_ids) > config.max_num_seqs or len(set(plan.request_ids)) != len(plan.request_ids):
        raise broken("I12", watched, None, f"a batch of {plan.request_ids}; max_num_seqs is {config.max_num_seqs}")
    running = watched.scheduler.running_ids()
    if len(running) > config.max_num_seqs and not watched.limits_prefill_only:
        raise broken("I12", watched, None, f"{len(running)} running; max_num_seqs is {config.max_num_seqs}")
    missing = [request_id for request_id in cached if request_id not in plan.request_ids]
    if missing:
        raise broken("I12", watched, missing[0], "is admitted, but not in the batch")


def check_admission(watched: Watched, entry: Entry, token_ids: Sequence[int], num_cached: int) -> None:
    """I12: who enters brings all its tokens, none of them unknown, and leaves one to compute."""
    if list(token_ids) != entry.tokens or entry.pending:
        raise broken("I12", watched, entry.request_id, f"enters with {len(token_ids)} of {len(entry.tokens)} tokens")
    if not 0 <= num_cached < len(token_ids):
        raise broken("I12", watched, entry.request_id, f"{num_cached} of {len(token_ids)} tokens are cached")


def check_i12_request(
    watched: Watched, entry: Entry, start: int, num_tokens: int, samples: bool, admitted: bool
) -> None:
    """It goes on where it was, within its table, and samples when it reaches its end."""
    words = f"computes {start}..{start + num_tokens - 1}"
    if entry.status is not Status.RUNNING:
        raise broken("I2", watched, entry.request_id, f"{words}, but it was not admitted: it is {entry.status.value}")
    if start != entry.end and not (admitted and 0 <= start < entry.end):
        raise broken("I12", watched, entry.request_id, f"{words}, but {entry.end} tokens are stored")
    end, known = start + num_tokens, len(entry.tokens) + entry.pending
    if num_tokens < 1 or not entry.end < end <= known or samples != (end == known):
        raise broken("I12", watched, entry.request_id, f"{words} of {known} tokens, samples: {samples}")
    if end > len(entry.table) * watched.config.block_size:
        raise broken("I4", watched, entry.request_id, f"{words} in {len(entry.table)} blocks")


def check_i12_whole(watched: Watched, entry: Entry) -> None:
    """At its end: computed - recomputed = prompt + output - 1 - hits, steps that overran its end apart."""
    stored = entry.computed + entry.hits - entry.repaired - entry.lost
    overrun = entry.pending  # steps in flight compute the token that ended it
    if entry.status is Status.RUNNING and stored != len(entry.tokens) - 1 + overrun:
        raise broken(
            "I12",
            watched,
            entry.request_id,
            f"ends with {len(entry.tokens)} tokens, but computed {entry.computed}, hit {entry.hits}, "
            f"repaired {entry.repaired}, lost {entry.lost}",
        )


def check_i14(watched: Watched, flight: Flight, tokens: Sequence[tuple[int, ...]], outcome: Outcome) -> None:
    """Accepted is what live requests sampled; finished is who reached its limit or a stop token, now and no later."""
    finished, accepted = [], []
    for entry, new, samples in zip(flight.entries, tokens, flight.plan.samples, strict=True):
        entry.pending -= samples
        accepted.append(len(new) if entry.alive else 0)
        alive = entry.alive
        watched.accept(entry, new)  # a later step in flight may still compute it, though nobody gets it
        if not alive or not new:
            continue
        request = entry.request
        limit = min(request.prompt_len + request.max_tokens, watched.config.max_model_len)
        if len(entry.tokens) >= limit or entry.tokens[-1] in request.stop_token_ids:
            finished.append(entry)
    if list(outcome.num_accepted) != accepted:
        raise broken("I14", watched, None, f"accepted {outcome.num_accepted}, expected {accepted}")
    if list(outcome.finished) != [entry.request_id for entry in finished]:
        raise broken("I14", watched, None, f"finished {outcome.finished}, expected {[e.request_id for e in finished]}")
    for entry in finished:
        watched.finish(entry)


def check_i16(watched: Watched, flight: Flight) -> None:
    """What a step reads was written for these very tokens; what comes from the host was put there."""
    size, device, host, plan = watched.config.block_size, watched.device, watched.host, flight.plan
    for copy in plan.copies:
        if not (0 <= copy.block_id < len(device) and 0 <= copy.host_block_id < len(host)):
            raise broken("I18", watched, None, f"step {plan.step_id} copies outside of memory: {copy}")
        if copy.to_host:
            host[copy.host_block_id] = list(device[copy.block_id])
        else:
            device[copy.block_id] = list(host[copy.host_block_id])
    batch = list(zip(flight.entries, flight.tables, plan.starts, plan.num_tokens, strict=True))
    for entry, table, start, n in batch:
        for position in range(start, start + n):
            device[table[position // size]][position % size] = entry.chain[position]
    for entry, table, start, n in batch:
        for i in range(-(-(start + n) // size)):
            wanted = entry.chain[i * size : min((i + 1) * size, start + n)]
            if device[table[i]][: len(wanted)] != wanted:
                words = f"step {plan.step_id} reads block {table[i]} with KV of other tokens"
                raise broken("I16", watched, entry.request_id, words)


def check_i17(watched: Watched, snapshot: Snapshot) -> None:
    """Every token slot of the pool is in one part, and the parts are those of the tables."""
    held = snapshot.kv_tokens_stored, snapshot.kv_tail_waste, snapshot.kv_reserved_unused
    parts = (*held, snapshot.kv_cached_idle, snapshot.kv_free)
    size, total = watched.config.block_size, watched.config.num_blocks * watched.config.block_size
    if min(parts) < 0 or sum(parts) != total or snapshot.kv_total != total:
        raise broken("I17", watched, None, f"the parts of {total} slots do not add up: {snapshot}")
    if watched.unsettled:
        return
    tables = [entry for entry in watched.live.values() if entry.table]
    in_use = {block for entry in tables for block in entry.table}
    tail = sum(-entry.end % size for entry in tables)
    reserved = sum(len(entry.table) * size - entry.end for entry in tables) - tail
    if held != (len(in_use) * size - tail - reserved, tail, reserved):
        raise broken("I17", watched, None, f"{len(in_use)} blocks are in tables, {tail} + {reserved} empty: {snapshot}")

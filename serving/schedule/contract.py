"""The step contract: what a scheduler is told, what it answers, and what a world reports back.

    scheduler.add(request, now)   scheduler.abort(request_id, now)
    plan = scheduler.schedule(now)                    # Plan, or Idle
    ... the world spends time ...
    scheduler.complete(plan.step_id, tokens, now)

Times are integer nanoseconds since the start of the run. Simultaneous events are told to the scheduler in
this order: completions, aborts, arrivals (by request id), timers.

What passes is immutable: named tuples, which cost a third of a frozen dataclass to make, several times a step.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.request import Request
from serving.state.host_tier import Copy


class Idle(NamedTuple):
    """Nothing runs in this step.

    wake_at: when to ask again without new input; None: only new input, or the end of a step in flight, changes it.
    preempted: gave way all the same, as vLLM's steps do in which a request is its own victim; wake_at is now then,
        and the next plan tells of them.
    """

    wake_at: int | None = None
    preempted: tuple[str, ...] = ()


class Admission(NamedTuple):
    """A request enters the batch: first time, or again after a preemption.

    token_ids: prompt, and the output so far if it was preempted; immutable.
    num_cached: leading tokens that count as stored: prefix hits, and what comes back from the host.
    """

    request_id: str
    token_ids: Sequence[int]
    num_cached: int


class Joined(NamedTuple):
    """A request that is counted from now on: see Decodes. start: tokens of it whose KV is stored."""

    request_id: str
    start: int
    prompt_len: int


class Decodes(NamedTuple):
    """Requests that get one token each, as in the step before: counted, not listed (counting.py).

    They come before the listed ones in the batch, in the order in which they joined.
    num_seqs: how many; 0: no decodes in this step. context: KV tokens that they read, their own new ones included.
    left, then joined: who has ceased to be counted since the plan before, other than by finishing, and who has begun.
    """

    num_seqs: int
    context: int
    left: tuple[str, ...]
    joined: tuple[Joined, ...]


class Plan(NamedTuple):
    """One step, self-contained: a runner needs nothing else to execute it.

    Columns of equal length, one entry a request, in batch order:
        request_ids  who
        starts       tokens of it whose KV is stored before the step
        num_tokens   tokens computed in this step (positions starts .. starts + num_tokens - 1)
        samples      whether the step samples its next token (False: a prompt chunk that does not reach the end)
    A start below the request's num_cached, in the step that admits it, repairs: hits whose KV no step computed are
    computed now, beyond the budget (docs/architecture.md, The publish hazard).
    prompt_lens: tokens the client sent, so that a reader can tell prefill from decode.
    admitted: requests that enter with this step; new_blocks: (request, block ids appended to its table), on
    admission the whole table, prefix hits first; preempted: their KV is gone, they come back as admissions;
    released: finished or aborted since the last plan, so a runner may forget them. Released and preempted come
    before admitted: a request can be preempted and admitted again by one plan.
    copies: KV that moves between device and host before anything is computed, in this order.
    decodes: further requests of the batch, which the columns leave out; only a simulation asks for such plans.
    """

    step_id: int
    request_ids: tuple[str, ...]
    starts: tuple[int, ...]
    num_tokens: tuple[int, ...]
    samples: tuple[bool, ...]
    prompt_lens: tuple[int, ...]
    admitted: tuple[Admission, ...]
    new_blocks: tuple[tuple[str, tuple[int, ...]], ...]
    preempted: tuple[str, ...]
    released: tuple[str, ...]
    copies: tuple[Copy, ...] = ()
    decodes: Decodes | None = None


class Outcome(NamedTuple):
    """What complete() did: per request that the plan lists, how many tokens were accepted; and who finished."""

    num_accepted: tuple[int, ...]
    finished: tuple[str, ...]


class Snapshot(NamedTuple):
    """The engine after schedule(): queue lengths, and where every token slot of the KV pool is.

    tokens_stored + tail_waste + reserved_unused + cached_idle + free = total, in tokens.
    tokens_stored counts the tokens of the step just planned as stored; a shared block counts once.
    tail_waste: empty slots of each request's last partly filled block. reserved_unused: slots of blocks that a
    request holds beyond it. cached_idle: blocks nobody holds whose content can still be hit. free: the rest.
    """

    num_waiting: int
    num_running: int
    kv_total: int
    kv_tokens_stored: int
    kv_tail_waste: int
    kv_reserved_unused: int
    kv_cached_idle: int
    kv_free: int


class StepReceipt(NamedTuple):
    """A step that ran, in any world.

    schedule_at: schedule() was called; launch_at: inputs were prepared and execution began;
    host_at: sampled tokens were on the host (for a step that samples nothing, its end);
    delivered_at: the client held the step's tokens (= host_at where the step delivered none).
    """

    plan: Plan
    outcome: Outcome
    snapshot: Snapshot
    schedule_at: int
    launch_at: int
    host_at: int
    delivered_at: int


class QuietSteps(NamedTuple):
    """Steps, one after the other, that give the same counted requests a token each, and in which nothing else happens,
    but that some may get their last token with the last of them: finished.

    step_id, context: of the first; each later step has the next number, and num_seqs tokens of context more.
    left, joined, released, new_blocks: as the plan of the first would have them; the others have none.
    before: the engine before the first, but with new_blocks. most: how many there are before something happens in the
    engine.
    The arrays have an entry a step that ran, as in StepReceipt and Snapshot; they are empty until it did.
    """

    step_id: int
    num_seqs: int
    context: int
    left: tuple[str, ...]
    joined: tuple[Joined, ...]
    released: tuple[str, ...]
    new_blocks: tuple[tuple[str, tuple[int, ...]], ...]
    finished: tuple[str, ...]
    before: Snapshot
    most: int
    schedule_ats: "array[int]"
    launch_ats: "array[int]"
    host_ats: "array[int]"
    delivered_ats: "array[int]"
    tail_wastes: "array[int]"


class SchedulerLike(Protocol):
    """What every world drives."""

    def add(self, request: Request, now: int) -> None:
        """Take a request in. Errors: RequestError if it could never be served; the engine is unchanged then."""

    def abort(self, request_id: str, now: int) -> None:
        """Forget a request and free its blocks; unknown or finished ids are ignored."""

    def schedule(self, now: int) -> Plan | Idle: ...

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        """Feed back sampled tokens, per request that the plan lists, in batch order; () where nothing was sampled.

        ended: of those that it only counts, who has its last token with this step.
        """

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        """What quiet steps lie ahead between two steps, up to `most`; None: none, or it does not count decodes.

        unseen: nobody looks at the engine before they are over, so that free blocks may be appended amid them, and
        requests may end with the last.
        """

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        """The world has run these: the next quiet steps, as many as have instants.

        ended: who has its last token with the last of them, as for complete(). Returns them with tail_wastes and
        finished, in parts that begin where blocks are appended.
        """

    def snapshot(self) -> Snapshot: ...

    def num_output(self, request_id: str) -> int:
        """Output tokens that a request has so far; 0 for one that is not here."""

    @property
    def has_work(self) -> bool:
        """Whether any request is waiting or running."""

    @property
    def max_in_flight(self) -> int:
        """How many plans may be scheduled and not complete; they are completed in order."""

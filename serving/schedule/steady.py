"""Running requests that get one token in each decode step: counted, not visited.

How far a member has come is arithmetic on the number of decode steps since it joined. It is written into the
request's state when somebody looks (settle), and at the steps at which something happens to it: it needs a block, has
filled one, or ends. Those steps are known ahead, so that a step costs what happens in it, not what is in its batch.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from serving.errors import InvariantError
from serving.request import NEVER, RequestState
from serving.schedule.contract import Joined
from serving.state.pool import BlockPool


class TokensOf(Protocol):
    """What steps have sampled, or will."""

    def __call__(self, request_id: str, index: int, count: int | None, /) -> Sequence[int]:
        """Output tokens from number `index` on, `count` of them; None: to the end of the output."""


class Member:
    """A request that is counted. start: its tokens computed when it joined. since: decode steps when its state was last
    up to date.

    grows_at: the next decode step that it needs a block in. fills_at: the next one that fills a block which can be hit
    as soon as that is scheduled. ends_at: the next one at whose end it has its last token, or a full block that can be
    hit from then on.
    """

    __slots__ = ("_steady", "ends_at", "fills_at", "grows_at", "order", "since", "start", "state")

    def __init__(self, steady: "Steady", state: RequestState, order: int, since: int) -> None:
        self._steady = steady
        self.state = state
        self.order = order
        self.start = state.num_computed
        self.since = since
        self.grows_at = self.fills_at = self.ends_at = 0

    def settle(self) -> None:
        self._steady.settle(self)


class Steady:
    """The members are the first of the running requests, in the same order; each has one token to compute.

    publishes: whether full blocks can be hit once their step is scheduled, not only once it is complete.
    Who finishes does not leave.
    """

    def __init__(self, pool: BlockPool, publishes: bool, tokens_of: TokensOf) -> None:
        self._pool = pool
        self._publishes = publishes
        self._tokens_of = tokens_of
        self._members: dict[RequestState, Member] = {}
        self._joined: dict[RequestState, Member] = {}
        self._left: list[str] = []
        self._num_joined = 0
        self._scheduled = 0  # decode steps, and how many of them are complete
        self._complete = 0
        self._growing: dict[int, dict[Member, None]] = {}  # by grows_at, fills_at and ends_at
        self._filling: dict[int, dict[Member, None]] = {}
        self._ending: dict[int, dict[Member, None]] = {}
        self._num_computed = 0  # sums over the members: tokens computed, slots of their blocks, tail waste
        self._capacity = 0
        self._tail_waste = 0
        self._phases = [0] * pool.block_size  # members whose tokens computed, less decode steps, leave this remainder

    def __len__(self) -> int:
        return len(self._members)

    @property
    def context(self) -> int:
        """Tokens that the members have computed."""
        return self._num_computed

    @property
    def tail_waste(self) -> int:
        return self._tail_waste

    @property
    def reserved(self) -> int:
        return self._capacity - self._num_computed - self._tail_waste

    def extend(self, running: Sequence[RequestState]) -> None:
        """Between steps: those behind the members join, up to the first that has more to do than decode, or has got no
        token since it came in: its first token here is news, which a count does not tell.
        """
        for i in range(len(self._members), len(running)):
            state = running[i]
            if state.num_computed + 1 != state.num_tokens or state.num_output == state.admitted_at_output:
                return
            member = Member(self, state, self._num_joined, self._scheduled)
            self._num_joined += 1
            self._members[state] = self._joined[state] = state.counted = member
            self._pool.set_aside(state)
            self._add(member, 1)
            self._expect_growth(member)
            self._expect_filling(member)
            self._expect_end(member)

    def changes(self) -> tuple[tuple[str, ...], tuple[Joined, ...]]:
        """Who left and who joined since forget_changes()."""
        joined = [Joined(s.request_id, member.start, s.prompt_len) for s, member in self._joined.items()]
        return tuple(self._left), tuple(joined)

    def forget_changes(self) -> None:
        self._left.clear()
        self._joined.clear()

    def leave(self, state: RequestState) -> None:
        """It is listed again from now on."""
        if state in self._joined:
            del self._joined[state]
        else:
            self._left.append(state.request_id)
        self._remove(state)

    def leave_all(self) -> list[RequestState]:
        states = list(self._members)
        for state in states:
            self.leave(state)
        return states

    def finish(self, state: RequestState) -> None:
        self._remove(state)

    def settle(self, member: Member) -> None:
        self._settle_lengths(member)
        self._settle_tokens(member)

    def _settle_lengths(self, member: Member) -> None:
        state, steps = member.state, self._scheduled - member.since
        member.since = self._scheduled
        state.num_computed += steps
        state.num_tokens += steps

    def _settle_tokens(self, member: Member) -> None:
        """Of a member whose lengths are up to date."""
        state, in_flight = member.state, member.since - self._complete
        lacking = state.num_tokens - in_flight - len(state.token_ids)
        if lacking:
            state.token_ids.extend(self._tokens_of(state.request_id, state.num_output, lacking))

    def settle_all(self) -> None:
        for member in self._members.values():
            self.settle(member)

    def schedule(self, give_way: Callable[[], None] | None) -> dict[RequestState, tuple[int, ...]] | None:
        """One more decode step. Returns the blocks that were appended.

        give_way: takes the place of the last running request away, which may be the one in need; None: it is not as
        simple, and where blocks are short nothing is done and None returned.
        """
        block_size, step = self._pool.block_size, self._scheduled + 1
        if give_way is None and len(self._growing.get(step, ())) > self._pool.num_free:
            return None
        grown = self.begin_step(give_way)
        if self._members:
            self._tail_waste += block_size * self._phases[-self._scheduled % block_size] - len(self._members)
            self._num_computed += len(self._members)
            self._scheduled = step
        return grown

    def begin_step(self, give_way: Callable[[], None] | None = None) -> dict[RequestState, tuple[int, ...]]:
        """Of the next decode step, what happens to members before they get their tokens; as schedule().

        Without give_way the blocks must be free.
        """
        pool, step = self._pool, self._scheduled + 1
        grown: dict[RequestState, tuple[int, ...]] = {}
        if step not in self._growing and step not in self._filling:
            return grown
        growing = self._growing.get(step, {})
        for member in _in_order({**growing, **self._filling.get(step, {})}):
            self._settle_lengths(member)
            state = member.state
            end = state.num_computed + 1
            if end > state.capacity:
                while not pool.num_free and give_way is not None and state.counted is member:
                    give_way()
                if state.counted is not member:
                    break  # and so did all behind it
                grown[state] = pool.grow(state, 1)
                self._capacity += pool.block_size
                del growing[member]
                self._expect_growth(member)
            if member.fills_at == step:
                self._publish(member, end)
        self._growing.pop(step, None)
        self._filling.pop(step, None)
        return grown

    def _publish(self, member: Member, end: int) -> None:
        self._settle_tokens(member)
        self._pool.publish(member.state, end)
        self._expect_filling(member)

    def quiet_steps(self, most: int, may_grow: bool, may_end: bool) -> int:
        """How many decode steps there are, up to `most`, before something happens to a member at the end of one, or it
        needs a block. may_end: that step included; may_grow: blocks do not matter if enough are free.
        """
        most = min(most, min(self._ending) - self._scheduled - (not may_end))
        each = 1 + most // self._pool.block_size  # blocks that a member needs in so many steps, or one less
        if may_grow and len(self._members) * each <= self._pool.num_free:
            return most
        return min(most, self.steps_to_growth)

    @property
    def steps_to_growth(self) -> int:
        """How many decode steps there are before a member needs a block."""
        return min(self._growing) - self._scheduled - 1

    def advance(self, count: int) -> "array[int]":
        """So many quiet steps are complete. Returns the tail waste in each."""
        num, tail, end = len(self._members), self._tail_waste, self._scheduled + count
        if not self.reserved and count <= self.steps_to_growth:
            tails = array("q", range(tail - num, tail - count * num - 1, -num))  # no member comes into a new block
        else:
            block_size, tails = self._pool.block_size, array("q")
            for step in range(self._scheduled, end):
                tail += block_size * self._phases[-step % block_size] - num
                tails.append(tail)
        self._num_computed += count * num
        self._tail_waste = tails[-1]
        while self._filling and (step := min(self._filling)) <= end:
            self._scheduled = self._complete = step - 1
            for member in _in_order(self._filling.pop(step)):
                self._settle_lengths(member)
                self._publish(member, member.state.num_computed + 1)
        self._scheduled = self._complete = end
        return tails

    def take_back_step(self) -> list[RequestState]:
        """The step just scheduled will not be counted, but list everybody. Returns them, up to date."""
        states = self.leave_all()
        self._scheduled -= 1
        return states

    def complete(self) -> None:
        """The step is complete."""
        self._complete += 1

    def at_end(self, ended: Iterable[RequestState]) -> list[RequestState]:
        """Of a complete step, with which `ended` have their last token. Returns all concerned, up to date."""
        ending = self._ending.pop(self._complete, {})
        ending.update((self._members[state], None) for state in ended)
        members = _in_order(ending)
        for member in members:
            self.settle(member)
        return [member.state for member in members]

    def go_on(self, state: RequestState) -> None:
        """Of one that at_end() returned: it did not end."""
        self._expect_end(self._members[state])

    def check(self) -> None:
        """Recount the sums. Errors: InvariantError."""
        self.settle_all()
        states = list(self._members)
        tails = [-state.num_computed % self._pool.block_size for state in states]
        counted = (sum(s.num_computed for s in states), sum(s.capacity for s in states), sum(tails))
        kept = (self._num_computed, self._capacity, self._tail_waste)
        if counted != kept:
            raise InvariantError(f"tokens computed, slots and tail waste of counted decodes: {kept}, found {counted}")

    def _remove(self, state: RequestState) -> None:
        member = self._members.pop(state)
        self.settle(member)
        self._add(member, -1)
        self._pool.take_back(state)
        state.counted = None
        dues = ((self._growing, member.grows_at), (self._filling, member.fills_at), (self._ending, member.ends_at))
        for steps, step in dues:
            due = steps.get(step, {})
            due.pop(member, None)
            if not due:
                steps.pop(step, None)

    def _expect_growth(self, member: Member) -> None:
        state = member.state
        member.grows_at = member.since + state.capacity + 1 - state.num_computed
        self._growing.setdefault(member.grows_at, {})[member] = None

    def _expect_filling(self, member: Member) -> None:
        state = member.state
        if self._publishes and state.publish_at < NEVER:
            member.fills_at = member.since + state.publish_at - state.num_computed
            self._filling.setdefault(member.fills_at, {})[member] = None

    def _expect_end(self, member: Member) -> None:
        state = member.state
        left = state.end_at - state.num_tokens
        if not self._publishes:
            left = min(left, state.publish_at - state.num_computed)
        member.ends_at = member.since + left
        self._ending.setdefault(member.ends_at, {})[member] = None

    def _add(self, member: Member, sign: int) -> None:
        state, block_size = member.state, self._pool.block_size
        self._num_computed += sign * state.num_computed
        self._capacity += sign * state.capacity
        self._tail_waste += sign * (-state.num_computed % block_size)
        self._phases[(state.num_computed - self._scheduled) % block_size] += sign


def _in_order(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.order)

"""What a runner knows of each request: its tokens, its blocks, its sampling; and a plan turned into arrays.

    tokens   row: [0 ......... num_tokens)      prompt, then the output that was accepted
    stored        [0 ... num_stored)            their KV is in the cache (or was said to be: admission, plan)
    table    row: [0 ............ num_blocks)   block ids

A request has one row of each array for as long as it is known; rows are reused, and doubled when all are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from realexec.attention.base import Int64, RaggedBatch
from realexec.sampling import Draws, Sampling, Samplings
from realexec.shapes import ModelShape
from serving.errors import InvariantError, RequestError
from serving.schedule.contract import Admission, Plan
from serving.state.host_tier import Copy

NOWHERE = -1


class Awaited(NamedTuple):
    """Tokens that a step computes and nobody knew when it was prepared: the step before samples them.

    rows: of the T token ids, where anything may stand until then; places: among the S tokens of the step before.
    """

    rows: Int64
    places: Int64


@dataclass(frozen=True, slots=True)
class StepInputs:
    """A step in arrays, independent of later plans. T tokens computed, S of them sampled; copies run first.

    token_ids, positions [T]; awaited: token ids to be filled in before they are computed;
    sample_rows [S]: rows of T, in batch order; samples: as in the plan;
    draws: how each of the S becomes a token; never: tokens that none of them becomes.
    """

    step_id: int
    copies: tuple[Copy, ...]
    token_ids: Int64
    awaited: Awaited
    positions: Int64
    batch: RaggedBatch
    samples: tuple[bool, ...]
    sample_rows: Int64
    draws: Draws
    never: tuple[int, ...]


class Sequences:
    """sampling: of requests without their own. never: tokens that no request gets.

    A plan can be prepared before the tokens of the one before it are known; later ones refer to the last one prepared.
    Errors: RequestError where a request exceeds the model, InvariantError where a plan contradicts itself.
    """

    def __init__(self, shape: ModelShape, num_blocks: int, block_size: int, sampling: Sampling) -> None:
        self._shape = shape
        self._num_blocks = num_blocks
        self._block_size = block_size
        self._row_of: dict[str, int] = {}
        self._free_rows: list[int] = []
        self._tokens = np.zeros((0, shape.max_position), np.int64)
        self._tables = np.zeros((0, -(-shape.max_position // block_size)), np.int32)
        self._num_tokens = np.zeros(0, np.int64)
        self._num_stored = np.zeros(0, np.int64)
        self._num_table = np.zeros(0, np.int64)
        self._sampled_at = np.zeros(0, np.int64)  # the position that the last step samples, or NOWHERE
        self._place = np.zeros(0, np.int64)  # among the tokens which that step samples
        self._last_sampled = np.zeros(0, np.int64)  # their rows
        self._samplings = Samplings(sampling)
        self.never: tuple[int, ...] = ()

    def sample_with(self, request_id: str, sampling: Sampling) -> None:
        """Before a plan admits it; kept until it is released or forgotten, however often it is preempted until then."""
        highest = max(sampling.stop_token_ids, default=0)
        if highest >= self._shape.vocab_size:
            raise RequestError(
                f"{request_id} has stop token {highest}, but model {self._shape.name} knows "
                f"0 .. {self._shape.vocab_size - 1}"
            )
        if request_id in self._row_of:
            raise InvariantError(f"{request_id} is told how to sample after it was admitted")
        self._samplings.add(request_id, sampling)

    def apply(self, plan: Plan) -> None:
        """Take in who left, who came, and the blocks they got."""
        self.forget(plan.released)
        self._leave(plan.preempted)
        for admission in plan.admitted:
            self._admit(admission)
        for request_id, blocks in plan.new_blocks:
            self._extend(request_id, blocks)

    def forget(self, request_ids: Sequence[str]) -> None:
        """Unknown ones are ignored: a request can be aborted before a plan ever had it."""
        self._leave(request_ids)
        self._samplings.forget(request_ids)

    def _leave(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            row = self._row_of.pop(request_id, None)
            if row is not None:
                self._free_rows.append(row)

    def append(self, request_id: str, token_ids: Sequence[int]) -> None:
        """Whoever has left since the step that sampled them brings them along when it comes back."""
        row = self._row_of.get(request_id)
        if row is None:
            return
        first = int(self._num_tokens[row])
        self._write_tokens(request_id, row, first, token_ids)
        self._num_tokens[row] = first + len(token_ids)

    def inputs(self, plan: Plan) -> StepInputs:
        """The step's arrays; its tokens count as stored from here on."""
        rows = np.array([self._row(r) for r in plan.request_ids], np.int64)
        starts, lengths = np.array(plan.starts, np.int64), np.array(plan.num_tokens, np.int64)
        ends = starts + lengths
        self._check(plan, rows, starts, ends)
        self._num_stored[rows] = ends
        query_starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=query_starts[1:])
        positions = np.arange(query_starts[-1]) + np.repeat(starts - query_starts[:-1], lengths)
        row_of_token = np.repeat(rows, lengths)
        block, offset = np.divmod(positions, self._block_size)
        widest = -(-int(ends.max()) // self._block_size)
        sampling, prompt_lens = np.flatnonzero(plan.samples), np.array(plan.prompt_lens, np.int64)
        awaiting = np.flatnonzero(ends > self._num_tokens[rows])
        awaited = Awaited(query_starts[1:][awaiting] - 1, self._place[rows[awaiting]])
        self._note_samples(rows[sampling], ends[sampling])
        return StepInputs(
            step_id=plan.step_id,
            copies=plan.copies,
            token_ids=self._tokens[row_of_token, positions],
            awaited=awaited,
            positions=positions,
            batch=RaggedBatch(
                query_starts=query_starts.astype(np.int32),
                context_lens=ends.astype(np.int32),
                block_tables=self._tables[rows, :widest],
                slots=self._tables[row_of_token, block].astype(np.int64) * self._block_size + offset,
            ),
            samples=plan.samples,
            sample_rows=query_starts[1:][sampling] - 1,
            draws=self._samplings.draws(
                [plan.request_ids[i] for i in sampling], ends[sampling], ends[sampling] - prompt_lens[sampling]
            ),
            never=self.never,
        )

    def _note_samples(self, rows: Int64, positions: Int64) -> None:
        self._sampled_at[self._last_sampled] = NOWHERE
        self._last_sampled = rows
        self._sampled_at[rows] = positions
        self._place[rows] = np.arange(len(rows))

    def _admit(self, admission: Admission) -> None:
        request_id = admission.request_id
        if request_id in self._row_of:
            raise InvariantError(f"{request_id} is admitted again, but was neither preempted nor released")
        if not self._free_rows:
            self._grow()
        row = self._free_rows.pop()
        self._row_of[request_id] = row
        self._write_tokens(request_id, row, 0, admission.token_ids)
        self._num_tokens[row] = len(admission.token_ids)
        self._num_stored[row] = admission.num_cached
        self._num_table[row] = 0
        self._sampled_at[row] = NOWHERE

    def _extend(self, request_id: str, blocks: tuple[int, ...]) -> None:
        row = self._row(request_id)
        first = int(self._num_table[row])
        last = first + len(blocks)
        if last > self._tables.shape[1]:
            raise RequestError(
                f"{request_id} holds {last} blocks of {self._block_size} tokens, but model {self._shape.name} has "
                f"{self._shape.max_position} positions; lower max_model_len"
            )
        for block in blocks:
            if not 0 <= block < self._num_blocks:
                raise InvariantError(f"{request_id} got block {block}, but the pool has {self._num_blocks}")
        self._tables[row, first:last] = blocks
        self._num_table[row] = last

    def _write_tokens(self, request_id: str, row: int, first: int, token_ids: Sequence[int]) -> None:
        last = first + len(token_ids)
        if last > self._shape.max_position:
            raise RequestError(
                f"{request_id} has {last} tokens, but model {self._shape.name} has {self._shape.max_position} "
                f"positions; lower max_model_len"
            )
        written = self._tokens[row, first:last]
        written[:] = token_ids
        lowest, highest = (int(written.min()), int(written.max())) if len(written) else (0, 0)
        if lowest < 0 or highest >= self._shape.vocab_size:
            raise RequestError(
                f"{request_id} has token {lowest if lowest < 0 else highest}, but model {self._shape.name} knows "
                f"0 .. {self._shape.vocab_size - 1}"
            )

    def _check(self, plan: Plan, rows: Int64, starts: Int64, ends: Int64) -> None:
        """What would otherwise read or overwrite another request's KV, or tokens that do not exist."""
        if not len(rows) or len(set(plan.request_ids)) < len(rows):
            raise InvariantError(f"step {plan.step_id} needs one entry a request, has {list(plan.request_ids)}")
        unknown = ends - np.maximum(starts, self._num_tokens[rows])
        for wrong, what in (
            (ends <= starts, "computes no token"),
            (starts < 0, "starts before its first token"),
            (starts > self._num_stored[rows], "starts beyond what is stored"),
            (
                (unknown > 1) | ((unknown == 1) & (self._sampled_at[rows] != ends - 1)),
                "computes tokens nobody knows yet",
            ),
            (ends > self._num_table[rows] * self._block_size, "stores beyond its blocks"),
        ):
            if wrong.any():
                i = int(wrong.argmax())
                row = rows[i]
                raise InvariantError(
                    f"step {plan.step_id}: {plan.request_ids[i]} {what}: tokens {starts[i]} .. {ends[i] - 1}, with "
                    f"{self._num_tokens[row]} known, {self._num_stored[row]} stored, {self._num_table[row]} blocks "
                    f"of {self._block_size}"
                )
        if (ends > self._shape.max_position).any():
            i = int((ends > self._shape.max_position).argmax())
            raise RequestError(
                f"{plan.request_ids[i]} needs position {ends[i] - 1}, but model {self._shape.name} has "
                f"{self._shape.max_position}; lower max_model_len"
            )

    def _row(self, request_id: str) -> int:
        try:
            return self._row_of[request_id]
        except KeyError:
            raise InvariantError(f"a plan refers to {request_id}, which was not admitted or has left") from None

    def _grow(self) -> None:
        rows = len(self._tokens)
        added = max(64, rows)
        self._free_rows.extend(reversed(range(rows, rows + added)))
        for name in ("_tokens", "_tables", "_num_tokens", "_num_stored", "_num_table", "_sampled_at", "_place"):
            old = getattr(self, name)
            new = np.zeros((rows + added, *old.shape[1:]), old.dtype)
            new[:rows] = old
            setattr(self, name, new)

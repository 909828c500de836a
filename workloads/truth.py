"""The truth about outputs: the only holder of output lengths, asked by worlds and never by a scheduler."""

from collections.abc import Sequence

from records.prompts import FIRST_TOKEN_ID, NUM_TOKEN_IDS
from serving.errors import InvariantError
from serving.schedule.contract import Plan
from workloads.tokens import EOS_TOKEN_ID
from workloads.workload import Workload


class Truth:
    """Ends each output where the workload says, in every world alike; until then the world's own tokens stand."""

    def __init__(self, workload: Workload) -> None:
        self._output_len: dict[str, int] = {}
        self._first_placeholder: dict[str, int] = {}
        unused = FIRST_TOKEN_ID + NUM_TOKEN_IDS
        for request in workload.requests:
            self._output_len[request.request_id] = request.output_len
            self._first_placeholder[request.request_id] = unused
            unused += request.output_len

    def token(self, request_id: str, index: int, sampled: int) -> int:
        """Output token number `index`, from 0, of a request for which a world sampled `sampled`.

        The last one is the end-of-sequence token; where the model samples that earlier, it becomes token 3.
        Errors: InvariantError beyond the end.
        """
        if index == self._last(request_id, index):
            return EOS_TOKEN_ID
        return FIRST_TOKEN_ID if sampled == EOS_TOKEN_ID else sampled

    def placeholder(self, request_id: str, index: int) -> int:
        """A token for a world that computes none; no other request or index has the same."""
        self._last(request_id, index)
        return self._first_placeholder[request_id] + index

    def output_len(self, request_id: str) -> int:
        return self._last(request_id, 0) + 1

    def placeholders(self, request_id: str, index: int, count: int | None = None) -> list[int]:
        """Output tokens from number `index` on in such a world, `count` of them; None: to the end of the output."""
        length = self.output_len(request_id)
        end = length if count is None else index + count
        self._last(request_id, end - 1)
        first = self._first_placeholder[request_id]
        tokens = list(range(first + index, first + end))
        if end == length:
            tokens[-1] = EOS_TOKEN_ID
        return tokens

    def answer(
        self, plan: Plan, sampled: Sequence[int | None] | None = None, overrun: int = 0
    ) -> list[tuple[int, ...]]:
        """What to feed back for a plan: per request of it, in batch order, its one new token or ().

        sampled: what the model sampled, in the same order, None where nothing was; not given: placeholders.
        overrun: tokens by which a step that was scheduled before the end was known may go beyond it; nobody gets them.
        """
        answers: list[tuple[int, ...]] = []
        output_len, first_placeholder = self._output_len, self._first_placeholder
        columns = zip(plan.request_ids, plan.samples, plan.starts, plan.num_tokens, plan.prompt_lens, strict=True)
        for i, (request_id, samples, start, num_tokens, prompt_len) in enumerate(columns):
            if not samples:
                answers.append(())
                continue
            index = start + num_tokens - prompt_len
            before_last = output_len.get(request_id, 0) - 1 - index
            if before_last > 0 and index >= 0 and sampled is None:  # most tokens of most simulations
                answers.append((first_placeholder[request_id] + index,))
            elif 0 < -before_last <= overrun and request_id in output_len:
                answers.append((EOS_TOKEN_ID,))
            else:
                own = self.placeholder(request_id, index) if sampled is None else sampled[i]
                if own is None:
                    raise InvariantError(f"step {plan.step_id}: nothing was sampled for {request_id}")
                answers.append((self.token(request_id, index, own),))
        return answers

    def _last(self, request_id: str, index: int) -> int:
        length = self._output_len.get(request_id)
        if length is None:
            raise InvariantError(f"the workload has no request {request_id}")
        if not 0 <= index < length:
            raise InvariantError(f"request {request_id} has {length} output tokens; number {index} was asked for")
        return length - 1

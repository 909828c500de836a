"""What a step costs: the features of a plan, and the protocol of a model that turns them into time.

The same features() serves fitting (calibration) and prediction (sim), so the two cannot drift apart.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.schedule.contract import Plan


class StepFeatures(NamedTuple):
    """The shape of a batch, all counts.

    A sequence is decode-shaped when the step computes one token of it, else prefill-shaped.
    num_seqs             sequences in the batch
    num_tokens           tokens computed (rows of every linear layer)
    num_sampled          tokens sampled (rows of the LM head)
    num_prefill_seqs     prefill-shaped sequences
    prefill_tokens       their tokens computed
    prefill_context      their tokens already in KV before the step, read again
    prefill_pairs        query-key pairs their causal attention evaluates
    decode_context       KV tokens that decode-shaped sequences read, their own new one included
    """

    num_seqs: int
    num_tokens: int
    num_sampled: int
    num_prefill_seqs: int
    prefill_tokens: int
    prefill_context: int
    prefill_pairs: int
    decode_context: int

    @property
    def kind(self) -> str:
        """What the step computes: decodes, prompts ("prefill"), or both ("mixed")."""
        if not self.num_prefill_seqs:
            return "decode"
        return "mixed" if self.num_prefill_seqs < self.num_seqs else "prefill"

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return cls._fields

    @classmethod
    def of_decodes(cls, num: int, context: int) -> "StepFeatures":
        """Of a step of so many decodes and nothing else. context: as decode_context."""
        return cls(num, num, num, 0, 0, 0, 0, context)

    @classmethod
    def of_chunk(cls, chunk: int, stored: int, decodes: int, context: int) -> "StepFeatures":
        """Of a step that computes `chunk` tokens of one prompt, behind so many stored ones, beside so many decodes."""
        pairs = chunk * stored + chunk * (chunk + 1) // 2
        return cls(decodes + 1, decodes + chunk, decodes + 1, 1, chunk, stored, pairs, context)


def features(plan: Plan) -> StepFeatures:
    decodes = plan.decodes
    if decodes is not None and not plan.request_ids:
        return StepFeatures.of_decodes(decodes.num_seqs, decodes.context)
    counted, context = (0, 0) if decodes is None else (decodes.num_seqs, decodes.context)
    return features_of(plan.starts, plan.num_tokens, sum(plan.samples), counted, context)


def features_of(
    starts: Sequence[int], num_tokens: Sequence[int], num_sampled: int, counted: int = 0, context: int = 0
) -> StepFeatures:
    """Of a batch: of each sequence the tokens in KV before the step, and those it computes.

    counted, context: decodes beside those, and the KV tokens that they read.
    """
    num_prefill = prefill_tokens = prefill_context = prefill_pairs = decode_context = 0
    for start, n in zip(starts, num_tokens, strict=True):
        if n == 1:
            decode_context += start + 1
        else:
            num_prefill += 1
            prefill_tokens += n
            prefill_context += start
            prefill_pairs += n * start + n * (n + 1) // 2
    num_seqs = len(starts) + counted
    return StepFeatures(
        num_seqs,
        prefill_tokens + num_seqs - num_prefill,
        num_sampled + counted,
        num_prefill,
        prefill_tokens,
        prefill_context,
        prefill_pairs,
        decode_context + context,
    )


class CostModel(Protocol):
    """Durations in integer nanoseconds; floats inside are plain Python, so that every machine rounds alike."""

    def schedule_time(self, step: StepFeatures) -> int:
        """schedule() called -> execution launched."""

    def execute_time(self, step: StepFeatures) -> int:
        """Execution launched -> tokens on the host."""

    def return_time(self, step: StepFeatures) -> int:
        """Tokens on the host -> the client holds them."""

    def copy_time(self, num_blocks: int) -> int:
        """Moving so many KV blocks between device and host, before execution. Errors: ConfigError if not known."""

    def complete_time(self, step: StepFeatures) -> int:
        """Tokens on the host -> the engine is ready to schedule again."""

    def arrive_time(self) -> int:
        """A client sends a request -> the engine has it."""

    def wake_time(self) -> int:
        """An idle engine has a request -> schedule() is called."""

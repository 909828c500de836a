"""Does the device's engine give the tokens that the CPU's gives? Greedy, in float32, under one scheduler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from realexec.llm import LLM, SamplingParams


@dataclass(frozen=True, slots=True)
class Agreement:
    """tokens: compared, up to each request's first difference, where the two go different ways by right.

    equal_requests: all tokens alike.
    """

    requests: int
    equal_requests: int
    tokens: int

    @property
    def all_equal(self) -> bool:
        return self.equal_requests == self.requests


def compare_tokens(one: LLM, other: LLM, prompts: Sequence[list[int]], max_tokens: int) -> Agreement:
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    answers = [llm.generate(list(prompts), params, use_tqdm=False) for llm in (one, other)]
    pairs = [(_ids(a), _ids(b)) for a, b in zip(*answers, strict=True)]
    return Agreement(
        requests=len(pairs),
        equal_requests=sum(a == b for a, b in pairs),
        tokens=sum(_common(a, b) for a, b in pairs),
    )


def _ids(answer: Mapping[str, object]) -> list[int]:
    ids = answer["token_ids"]
    assert isinstance(ids, list)
    return ids


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if x != y:
            return i
    return len(a)

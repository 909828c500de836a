"""Outputs end where the workload says, and placeholders never look equal."""

import pytest

from serving.errors import InvariantError
from serving.schedule.contract import Plan
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest

LOAD = Workload("w", (WorkloadRequest("a", 0, 4, 3, 9), WorkloadRequest("b", 0, 2, 1, 1)))


def plan(starts: tuple[int, int], num_tokens: tuple[int, int], samples: tuple[bool, bool]) -> Plan:
    return Plan(7, ("a", "b"), starts, num_tokens, samples, (4, 2), (), (), (), ())


def test_the_last_token_ends_the_output() -> None:
    truth = Truth(LOAD)
    assert [truth.token("a", i, sampled=77) for i in range(3)] == [77, 77, 2]
    assert truth.token("a", 0, sampled=2) == 3, "a sampled end of sequence must not end the output early"
    assert truth.token("b", 0, sampled=77) == 2


def test_beyond_the_end_is_a_bug() -> None:
    for request_id, index in (("a", 3), ("a", -1), ("c", 0)):
        with pytest.raises(InvariantError):
            Truth(LOAD).token(request_id, index, 5)


def test_placeholders_are_all_different_and_no_prompt_has_them() -> None:
    truth = Truth(LOAD)
    tokens = [truth.placeholder("a", i) for i in range(3)] + [truth.placeholder("b", 0)]
    assert len(set(tokens)) == 4
    assert min(tokens) > 258


def test_the_answer_to_a_plan() -> None:
    truth = Truth(LOAD)
    first = truth.placeholder("a", 0)
    assert truth.answer(plan((0, 0), (4, 1), (True, False))) == [(first,), ()]
    assert truth.answer(plan((4, 1), (1, 1), (True, True))) == [(first + 1,), (2,)]
    assert truth.answer(plan((4, 1), (1, 1), (True, False)), [9, None]) == [(9,), ()]
    with pytest.raises(InvariantError, match="step 7: nothing was sampled for a"):
        truth.answer(plan((4, 1), (1, 1), (True, False)), [None, None])


def test_recomputing_after_a_preemption_asks_for_the_next_token() -> None:
    """The plan computes prompt and output so far again, in one step: 4 + 2 tokens, then output token 2."""
    assert Truth(LOAD).answer(plan((0, 0), (6, 2), (True, True))) == [(2,), (2,)]

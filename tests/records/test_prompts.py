"""A drawn prompt is the tokens that it stands for, and two have equal identities where their names are equal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.prompts import JoinedPrompt, NamedPrompt, prompt_from_json, prompt_to_json, tokens_of
from serving.request import Request, RequestState
from serving.state.hashing import extend_hashes
from serving.tokens import DrawnTokens, frozen, packed, token_ids_of


@st.composite
def prompts(draw) -> NamedPrompt:
    size = draw(st.integers(1, 9))
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
    return NamedPrompt(names, size, draw(st.integers(size * (len(names) - 1) + 1, size * len(names))))


outputs = st.lists(st.integers(0, 9), min_size=1, max_size=9).map(tuple)
joined = st.recursive(
    st.lists(prompts() | outputs, min_size=1, max_size=4).map(JoinedPrompt),
    lambda inner: st.lists(prompts() | outputs | inner, min_size=1, max_size=3).map(JoinedPrompt),
    max_leaves=4,
)


def spelled_out(prompt: NamedPrompt | JoinedPrompt | tuple[int, ...]) -> list[int]:
    if isinstance(prompt, JoinedPrompt):
        return [token for part in prompt.parts for token in spelled_out(part)]
    if isinstance(prompt, NamedPrompt):
        return [token for name in prompt.names for token in tokens_of(name, prompt.size)][: prompt.length]
    return list(prompt)


@given(prompts() | joined, st.data())
def test_it_is_the_sequence_of_its_tokens(prompt: NamedPrompt | JoinedPrompt, data) -> None:
    tokens = spelled_out(prompt)
    assert list(prompt) == tokens
    assert len(prompt) == len(tokens)
    i = data.draw(st.integers(-len(tokens), len(tokens) - 1))
    assert prompt[i] == tokens[i]
    some = data.draw(st.slices(len(tokens)).filter(lambda s: s.step is None or s.step > 0))
    assert prompt[some] == tuple(tokens[some])
    assert prompt == tuple(tokens)
    assert hash(prompt) == hash(tuple(tokens))
    with pytest.raises(IndexError):
        prompt[len(tokens)]


@given(prompts() | joined, st.lists(st.integers(0, 9), max_size=12), st.data())
def test_with_output_behind_it_it_is_a_list(prompt: NamedPrompt | JoinedPrompt, output: list[int], data) -> None:
    tokens, like = token_ids_of(prompt), spelled_out(prompt)
    assert isinstance(tokens, DrawnTokens)
    before = frozen(tokens)
    tokens.extend(output)
    like += output
    assert (len(tokens), list(tokens), tokens[-1]) == (len(like), like, like[-1])
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(like)), st.integers(0, len(like)))))
    assert tokens[start:stop] == like[start:stop]
    assert tokens[start:] == like[start:]
    assert tuple(before) == tuple(spelled_out(prompt))
    assert tuple(frozen(tokens)) == tuple(like)


@given(prompts(), prompts(), st.integers(1, 9), st.lists(st.integers(0, 3), max_size=9))
def test_blocks_are_equal_by_name_where_their_tokens_are(a, b, block_size: int, output: list[int]) -> None:
    """Of prompts whose names stand for equally many tokens, as those of one trace do."""
    b = NamedPrompt(b.names, a.size, min(len(b), a.size * len(b.names)))
    hashes = []
    for spell in (lambda prompt: prompt, tuple):
        states = [RequestState.of(Request(str(i), 0, spell(p), 99), 10**6) for i, p in enumerate((a, b))]
        for state in states:
            state.token_ids.extend(output)
            extend_hashes(state, len(state.token_ids) // block_size, block_size)
        hashes.append([[x == y for y in states[1].block_hashes] for x in states[0].block_hashes])
    named, spelled = hashes
    if not output:
        assert named == spelled
    assert all(not n or s for ns, ss in zip(named, spelled, strict=True) for n, s in zip(ns, ss, strict=True))


@given(joined, st.data())
def test_a_range_that_begins_in_a_named_part_has_its_identity_there_and_that_of_ids_behind_it(prompt, data) -> None:
    start, end = sorted(data.draw(st.lists(st.integers(0, len(prompt)), min_size=2, max_size=2, unique=True)))
    begins, name, ids = 0, None, []
    for part in prompt.parts:
        ends = begins + len(part)
        if begins <= start < ends:
            name = part.identity(start - begins, min(end, ends) - begins) if isinstance(part, NamedPrompt) else None
        elif start < begins < end:
            name, ids = (None, []) if isinstance(part, NamedPrompt) else (name, [*ids, *part[: end - begins]])
        begins = ends
    assert prompt.identity(start, end) == (None if name is None else name + packed(ids))


@given(prompts() | joined, st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_output_has_the_identity_that_it_has_in_a_later_prompt(prompt, output: list[int], data) -> None:
    tokens, later = token_ids_of(prompt), JoinedPrompt((prompt, output))
    tokens.extend(output)
    start, end = sorted(data.draw(st.lists(st.integers(0, len(later)), min_size=2, max_size=2, unique=True)))
    assert tokens.identity(start, end) == later.identity(start, end)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_shorter_prefix_is_the_beginning_of_a_longer_one(short: int, more: int, data) -> None:
    long = NamedPrompt(("prefix x",), short + more, short + more)
    prompt = JoinedPrompt((NamedPrompt(("prefix x",), short, short), NamedPrompt(("request r",), more, more)))
    assert prompt[:short] == long[:short]
    start, end = sorted(data.draw(st.lists(st.integers(0, short), min_size=2, max_size=2, unique=True)))
    assert prompt.identity(start, end) == long.identity(start, end)
    assert prompt.identity(0, short + 1) is None


def test_a_conversation_is_flat() -> None:
    first = NamedPrompt(("request a",), 5, 5)
    second = JoinedPrompt((first, (7, 8)))
    third = JoinedPrompt((second, [9], NamedPrompt(("request b",), 2, 2)))
    assert third.parts == (first, (7, 8), (9,), NamedPrompt(("request b",), 2, 2))
    assert len(third) == 10


def through_a_log(prompt):
    return prompt_from_json(json.loads(json.dumps(prompt_to_json(prompt))))


@given(prompts())
def test_it_comes_back_from_a_log(prompt: NamedPrompt) -> None:
    again = through_a_log(prompt)
    assert (again, again.names, again.size) == (prompt, prompt.names, prompt.size)
    assert through_a_log((3, 5)) == (3, 5)


@given(joined, st.data())
def test_a_joined_one_does_too(prompt: JoinedPrompt, data) -> None:
    again = through_a_log(prompt)
    assert again.parts == prompt.parts
    start, end = sorted(data.draw(st.lists(st.integers(0, len(prompt)), min_size=2, max_size=2, unique=True)))
    assert again.identity(start, end) == prompt.identity(start, end)


def test_a_slice_with_a_step_is_nothing_a_scheduler_asks_for() -> None:
    with pytest.raises(ValueError, match="no step"):
        token_ids_of(NamedPrompt("ab", 2, 4))[::2]

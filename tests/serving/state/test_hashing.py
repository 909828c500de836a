"""What a prompt will be found by, before any engine has it."""

from hashlib import sha256

import pytest

from serving.request import Request, RequestState
from serving.state.hashing import extend_hashes, prompt_hashes
from serving.tokens import DrawnPrompt, packed


class Named(DrawnPrompt):
    """Its first 8 tokens have a name, so that only ids behind them may be read."""

    def __init__(self, name: str, length: int) -> None:
        self._name = name
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        assert index.start >= 8, "nobody needs to know"
        return [ord(self._name)] * (index.stop - index.start)

    def identity(self, start: int, end: int) -> bytes | None:
        return None if start >= 8 else f"{self._name} {start}-{end} ".encode()


@pytest.mark.parametrize(("length", "num_blocks"), [(3, 0), (4, 1), (11, 2), (12, 3)])
def test_a_prompt_has_the_hashes_that_its_request_gets(length, num_blocks) -> None:
    prompt = tuple(range(100, 100 + length))
    state = RequestState.of(Request("a", 0, prompt, 9), max_model_len=64)
    extend_hashes(state, num_blocks, 4)
    assert prompt_hashes(prompt, 4) == state.block_hashes
    assert len(state.block_hashes) == num_blocks


def test_a_hash_stands_for_its_block_and_all_before_it() -> None:
    first, other = prompt_hashes([1, 2, 3, 4], 2), prompt_hashes([9, 2, 3, 4], 2)
    assert len({*first, *other}) == 4
    assert prompt_hashes([1, 2, 3, 4, 5, 6], 2)[:2] == first


def test_a_prompt_known_by_name_is_hashed_by_it() -> None:
    """Its ids are read only where no name stands for them."""
    hashes = prompt_hashes(Named("a", 12), 4)
    assert hashes == prompt_hashes(Named("a", 12), 4)
    assert len({*hashes, *prompt_hashes(Named("b", 12), 4)}) == 6
    assert hashes[0] == sha256(b"a 0-4 ").digest()
    assert hashes[1] == sha256(hashes[0] + b"a 4-8 ").digest()
    assert hashes[2] == sha256(hashes[1] + packed([ord("a")] * 4)).digest()

"""Which block a hash finds, where several hold the same content."""

import pytest

from serving.state.prefix_index import NewestBlock, OldestBlock


def test_the_oldest_left_is_found() -> None:
    index = OldestBlock()
    for block_id in (5, 3, 9):
        index.publish(b"h", block_id)
    index.publish(b"g", 1)
    assert index.find(b"h") == 5
    assert sorted(index.entries()) == [(b"g", 1), (b"h", 3), (b"h", 5), (b"h", 9)]
    index.drop(b"h", 3)
    assert index.find(b"h") == 5
    index.drop(b"h", 5)
    assert index.find(b"h") == 9
    index.drop(b"h", 9)
    assert index.find(b"h") is None
    assert list(index.entries()) == [(b"g", 1)]


def test_publishing_a_block_again_changes_nothing() -> None:
    index = OldestBlock()
    index.publish(b"h", 5)
    index.publish(b"h", 5)
    index.drop(b"h", 5)
    assert index.find(b"h") is None


@pytest.mark.parametrize("index", [OldestBlock(), NewestBlock()], ids=lambda i: type(i).__name__)
def test_an_unknown_hash_finds_nothing(index) -> None:
    assert index.find(b"nowhere") is None


def test_the_newest_is_found_and_older_ones_are_forgotten() -> None:
    index = NewestBlock()
    index.publish(b"h", 5)
    index.publish(b"h", 3)
    assert index.find(b"h") == 3
    index.drop(b"h", 5)
    assert index.find(b"h") == 3
    assert list(index.entries()) == [(b"h", 3)]
    index.drop(b"h", 3)
    assert index.find(b"h") is None

"""Host memory by hand: room, least recently used content, swapped tables."""

import pytest

from serving.errors import InvariantError
from serving.state.host_tier import HostTier


def test_content_is_kept_until_its_place_is_needed_least_recently_used_first() -> None:
    host = HostTier(2)
    first, second = host.cache(b"a"), host.cache(b"b")
    assert (first, second) == (0, 1)
    assert host.cache(b"a") is None  # it is here already, and used now
    assert host.cache(b"c") == second
    assert (host.find(b"a"), host.find(b"b"), host.find(b"c")) == (first, None, second)
    host.check([])


def test_swapped_tables_take_the_place_of_content_and_are_not_taken() -> None:
    host = HostTier(3)
    host.cache(b"a")
    table = host.swap_out(3)
    assert sorted(table) == [0, 1, 2]
    assert host.find(b"a") is None
    assert host.num_available == 0
    assert host.cache(b"b") is None
    host.check([table])
    host.swap_in(table)
    assert host.num_available == 3
    host.check([])


def test_pinned_content_cannot_be_overwritten() -> None:
    host = HostTier(2)
    a, b = host.cache(b"a"), host.cache(b"b")
    host.pin([b"a"])
    assert host.cache(b"c") == b
    host.unpin([b"a"], [a])
    assert host.find(b"a") == a
    assert host.cache(b"d") == b  # a was used last
    host.check([])


def test_content_that_came_again_while_it_was_pinned_is_kept_once() -> None:
    host = HostTier(3)
    a = host.cache(b"a")
    host.pin([b"a"])
    again = host.cache(b"a")
    assert again not in (None, a)
    host.unpin([b"a"], [a])
    assert host.find(b"a") == again
    assert host.num_available == 3
    host.check([])


def test_check_finds_a_lost_block_and_a_wrong_count() -> None:
    host = HostTier(3)
    table = host.swap_out(1)
    with pytest.raises(InvariantError, match="accounted"):
        host.check([])
    host._num_swapped = 2
    with pytest.raises(InvariantError, match="counted as swapped"):
        host.check([table])

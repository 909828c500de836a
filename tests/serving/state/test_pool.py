"""The KV pool by hand: hits, growth, publication, release, swap, offload, and where every token slot is."""

import pytest

from serving.errors import InvariantError
from serving.request import NEVER, Request, RequestState
from serving.state.eviction.reuse_order import FreeQueue, Lru
from serving.state.host_tier import Copy, HostTier
from serving.state.pool import BlockPool, Hits
from serving.state.prefix_index import NewestBlock, OldestBlock


def state(name: str, tokens, session: str = "") -> RequestState:
    return RequestState.of(Request(name, 0, tuple(tokens), 100, session_id=session), max_model_len=1000)


def pool(num_blocks: int = 8, host: int = 0, caching: bool = True) -> BlockPool:
    return BlockPool(num_blocks, 4, OldestBlock() if caching else None, Lru(), HostTier(host) if host else None)


def admit(p: BlockPool, s: RequestState, num_tokens: int) -> Hits:
    """As a step would: hits, blocks, everything up to num_tokens computed and published."""
    hits = p.hits(s)
    p.admit(s, hits, p.blocks_for(num_tokens))
    s.num_cached, s.num_computed = hits.num_tokens, num_tokens
    p.publish(s, num_tokens)
    return hits


def test_blocks_for_rounds_up() -> None:
    assert [pool().blocks_for(n) for n in (0, 1, 4, 5, 8, 9)] == [0, 1, 1, 2, 2, 3]


def test_a_table_grows_by_the_blocks_freed_longest_ago_and_knows_its_capacity() -> None:
    p, a = pool(), state("a", range(6))
    admit(p, a, 6)
    assert (a.block_ids, a.capacity, p.num_free) == ([0, 1], 8, 6)
    assert p.grow(a, 2) == (2, 3)
    assert (a.block_ids, a.capacity, p.num_free) == ([0, 1, 2, 3], 16, 4)
    p.check([a])
    p.release(a)
    assert (a.block_ids, a.capacity, a.publish_at, p.num_free) == ([], 0, NEVER, 8)
    p.check([a])


def test_a_prompt_hits_full_blocks_but_never_all_of_itself() -> None:
    p, a = pool(), state("a", range(8))
    admit(p, a, 8)
    b, c, d = state("b", range(8)), state("c", range(9)), state("d", [*range(4), 99, 5, 6, 7, 8])
    assert [block.block_id for block in p.hits(b).blocks] == [0]  # the last token is left to compute
    assert [block.block_id for block in p.hits(c).blocks] == [0, 1]
    assert p.hits(c).num_tokens == 8
    assert p.hits(c).num_blocks == 2
    assert p.hits(c).idle == 0
    assert p.hits(d).num_tokens == 4  # the second block differs
    p.release(a)
    assert p.hits(c).idle == 2  # nobody holds them now: a hit costs a free block
    hits = admit(p, c, 9)
    assert hits.num_tokens == 8
    assert c.block_ids[:2] == [0, 1]
    assert c.block_ids[2] not in (0, 1)
    p.check([a, b, c, d])


def test_a_shared_block_is_free_when_its_last_holder_has_left() -> None:
    p, a, b = pool(), state("a", range(9)), state("b", range(9))
    admit(p, a, 9)
    admit(p, b, 9)
    assert p.num_free == 4  # two shared, one tail each
    p.release(a)
    assert p.num_free == 5
    p.check([a, b])
    p.release(b)
    assert p.num_free == 8
    p.check([a, b])


def test_reused_blocks_lose_their_content() -> None:
    p, a = pool(3), state("a", range(8))
    admit(p, a, 8)
    p.release(a)
    assert p.usage().cached_idle == 8
    b = state("b", range(100, 112))
    admit(p, b, 12)
    assert p.hits(state("c", range(9))).num_tokens == 0
    assert p.usage().cached_idle == 0
    p.check([a, b])


def test_a_tail_is_reused_before_its_head() -> None:
    p, a = pool(4), state("a", range(13))
    admit(p, a, 13)
    p.release(a)
    b = state("b", range(50, 58))
    admit(p, b, 8)
    assert b.block_ids == [3, 2]  # the unhashed tail, then the tail of the hashed ones
    assert p.hits(state("c", range(13))).num_tokens == 8


def test_without_prefix_caching_nothing_is_published_or_hit() -> None:
    p, a = pool(caching=False), state("a", range(8))
    admit(p, a, 8)
    assert a.publish_at == NEVER
    assert p.hits(state("b", range(9))) == Hits((), (), 0, 0)
    p.release(a)
    assert p.usage().cached_idle == 0
    p.check([a])


def test_publication_goes_block_by_block_and_only_over_known_tokens() -> None:
    p, a = pool(), state("a", range(10))
    hits = p.hits(a)
    p.admit(a, hits, 4)
    assert a.publish_at == 4
    p.publish(a, 3)
    assert a.publish_at == 4
    p.publish(a, 9)
    assert a.publish_at == 12
    p.publish(a, 16)  # tokens 10 .. 15 are not known yet
    assert a.publish_at == 12
    a.token_ids += [1, 2]
    p.publish(a, 12)
    assert a.publish_at == 16
    first, second, third = (p._blocks[i] for i in a.block_ids[:3])
    assert (first.parent, first.depth) == (None, 0)
    assert (second.parent, second.depth) == (first.content, 1)
    assert (third.parent, third.depth) == (second.content, 2)
    assert [first.published, second.published, third.published] == [0, 1, 2]
    assert p._blocks[a.block_ids[3]].content is None


def test_every_token_slot_is_in_exactly_one_part() -> None:
    p, a, b = pool(), state("a", range(9)), state("b", range(9))
    admit(p, a, 9)
    admit(p, b, 9)
    p.grow(b, 1)
    use = p.usage()
    assert (use.total, use.tokens_stored, use.tail_waste, use.reserved_unused) == (32, 10, 6, 4)
    assert (use.cached_idle, use.free) == (0, 12)
    p.release(b)
    p.release(a)
    use = p.usage()
    assert (use.tokens_stored, use.tail_waste, use.reserved_unused, use.cached_idle, use.free) == (0, 0, 0, 8, 24)


def test_a_block_of_a_step_that_was_undone_is_unwritten_until_somebody_computes_it() -> None:
    p, a = pool(), state("a", range(17))
    admit(p, a, 16)
    p.mark_unwritten(a, 6)  # of the four published blocks the first was computed before
    assert [p._blocks[i].written for i in a.block_ids] == [True, False, False, False]
    p.release(a)
    b = state("b", range(17))
    hits = p.hits(b)
    assert hits.num_tokens == 16
    assert p.first_unwritten(hits) == 4
    p.mark_written(hits)
    assert p.first_unwritten(p.hits(b)) is None


def test_reuse_makes_an_unwritten_block_an_ordinary_one() -> None:
    p, a = pool(2), state("a", range(8))
    admit(p, a, 8)
    p.mark_unwritten(a, 0)
    p.release(a)
    b = state("b", range(20, 28))
    admit(p, b, 8)
    p.release(b)
    assert p.first_unwritten(p.hits(state("c", range(20, 29)))) is None


def test_sessions_are_remembered_by_the_blocks_they_leave() -> None:
    p, a = pool(), state("a", range(5), session="s1")
    admit(p, a, 5)
    held = list(a.block_ids)
    p.release(a)
    assert [p._blocks[i].session_id for i in held] == ["s1", "s1"]


def test_hits_are_counted_while_the_content_lasts() -> None:
    p, a, b, b2 = pool(4), state("a", range(5)), state("b", range(5)), state("b2", range(5))
    admit(p, a, 5)
    admit(p, b, 5)
    assert p._blocks[a.block_ids[0]].num_hits == 1
    admit(p, b2, 5)
    shared = a.block_ids[0]
    assert p._blocks[shared].num_hits == 2
    for holder in (a, b, b2):
        p.release(holder)
    c = state("c", range(90, 106))
    admit(p, c, 16)
    assert p._blocks[shared].num_hits == 0


def test_swap_keeps_stored_tokens_on_the_host_and_brings_them_back() -> None:
    p, a = pool(4, host=4, caching=False), state("a", range(9))
    admit(p, a, 9)
    table = list(a.block_ids)
    assert p.swap_out(a, 9)
    p.release(a)
    a.num_cached, a.num_computed = 9, 0
    assert p.copies == [Copy(True, block_id, host) for block_id, host in zip(table, a.host_block_ids, strict=True)]
    p.check([a])
    p.copies.clear()
    hits = p.hits(a)
    assert (hits.num_blocks, hits.num_tokens, hits.host_block_ids) == (0, 9, tuple(a.host_block_ids))
    kept = list(a.host_block_ids)
    p.admit(a, hits, 3)
    assert p.copies == [Copy(False, block_id, host) for block_id, host in zip(a.block_ids, kept, strict=True)]
    assert a.host_block_ids == []
    assert p.host is not None
    assert p.host.num_available == 4
    p.check([a])


def test_what_of_a_swapped_request_is_still_on_the_device_is_not_copied_back() -> None:
    p, a = pool(8, host=4), state("a", range(9))
    admit(p, a, 9)
    table = list(a.block_ids)
    p.swap_out(a, 9)
    p.release(a)
    a.num_cached, a.num_computed = 9, 0
    p.copies.clear()
    hits = p.hits(a)
    assert [block.block_id for block in hits.blocks] == table[:2]
    assert (hits.num_tokens, hits.idle) == (9, 2)
    last = a.host_block_ids[2]
    p.admit(a, hits, 3)
    assert p.copies == [Copy(False, a.block_ids[2], last)]
    assert p.host is not None
    assert p.host.num_available == 4
    p.check([a])


def test_a_swapped_request_hits_no_more_than_it_had_stored() -> None:
    p, a, b = pool(8, host=4), state("a", range(9)), state("b", range(9))
    admit(p, a, 6)
    assert p.swap_out(a, 6)
    p.release(a)
    a.num_computed, a.num_cached = 0, 6
    admit(p, b, 9)  # publishes the second block too
    hits = p.hits(a)
    assert ([block.block_id for block in hits.blocks], hits.num_tokens) == ([b.block_ids[0]], 6)
    assert list(hits.host_block_ids) == a.host_block_ids[1:]


def test_swap_is_refused_where_the_host_is_full_absent_or_there_is_nothing_to_keep() -> None:
    p, a = pool(4, host=2), state("a", range(9))
    admit(p, a, 9)
    assert not p.swap_out(a, 9)
    assert not p.swap_out(a, 0)
    assert p.swap_out(a, 8)
    q, b = pool(4), state("b", range(9))
    admit(q, b, 9)
    assert not q.swap_out(b, 9)
    assert q.copies == []


def test_who_leaves_while_swapped_gives_the_host_back() -> None:
    p, a = pool(4, host=3), state("a", range(9))
    admit(p, a, 9)
    p.swap_out(a, 9)
    p.release(a)
    assert p.host is not None
    assert p.host.num_available == 0
    p.discard_swapped(a)
    assert (a.host_block_ids, p.host.num_available) == ([], 3)
    p.discard_swapped(a)
    assert p.host.num_available == 3


def test_evicted_prefixes_go_to_the_host_and_return_as_hits() -> None:
    p, a = pool(3, host=8), state("a", range(8))
    admit(p, a, 8)
    p.release(a)
    b = state("b", range(100, 112))
    admit(p, b, 12)
    assert [copy.to_host for copy in p.copies] == [True, True]
    went = {copy.block_id: copy.host_block_id for copy in p.copies}
    p.copies.clear()
    p.release(b)
    c = state("c", range(9))
    hits = p.hits(c)
    assert (hits.num_blocks, hits.num_tokens) == (0, 8)
    assert hits.host_block_ids == (went[0], went[1])
    p.admit(c, hits, 3)
    back = [copy for copy in p.copies if not copy.to_host]
    assert [(copy.host_block_id, copy.block_id) for copy in back] == [
        (went[0], c.block_ids[0]),
        (went[1], c.block_ids[1]),
    ]
    p.check([a, b, c])


def test_unwritten_content_does_not_go_to_the_host() -> None:
    p, a = pool(2, host=4), state("a", range(8))
    admit(p, a, 8)
    p.mark_unwritten(a, 4)
    p.release(a)
    b = state("b", range(50, 58))
    admit(p, b, 8)
    assert len(p.copies) == 1


def test_what_returns_is_not_overwritten_by_what_leaves_in_the_same_admission() -> None:
    p, a = pool(2, host=2), state("a", range(8))
    admit(p, a, 8)
    p.release(a)
    b = state("b", range(50, 58))
    admit(p, b, 8)
    p.release(b)
    p.copies.clear()
    c = state("c", range(8))
    hits = p.hits(c)
    assert len(hits.host_block_ids) == 1
    p.admit(c, hits, 2)
    coming = next(copy for copy in p.copies if not copy.to_host)
    assert all(copy.host_block_id != coming.host_block_id for copy in p.copies if copy.to_host)
    p.check([a, b, c])


def test_nano_takes_the_newest_of_equal_blocks_and_vllm_the_oldest() -> None:
    found = {}
    for index in (OldestBlock(), NewestBlock()):
        p = BlockPool(8, 4, index, FreeQueue())
        a, b = state("a", range(4)), state("b", range(4))
        admit(p, a, 4)
        admit(p, b, 4)  # block-aligned: computed again, so two blocks hold the same
        found[type(index).__name__] = p.hits(state("c", range(5))).blocks[0].block_id
        p.check([a, b])
        p.release(a)
        c = state("c", range(100, 128))
        p.admit(c, p.hits(c), 7)  # takes every free block, the old one included
        assert p.hits(state("d", range(5))).blocks[0].block_id == b.block_ids[0]
    assert found == {"OldestBlock": 0, "NewestBlock": 1}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p, a: a.block_ids.append(a.block_ids[0]), "twice"),
        (lambda p, a: setattr(p._blocks[0], "references", 5), "reference counts"),
        (lambda p, a: p._free.take(0), "free queue"),
        (lambda p, a: (p._free.take(0), p._free.add([p._blocks[a.block_ids[0]]], 0)), "free queue"),
        (lambda p, a: setattr(p, "_num_cached_idle", 9), "cached idle"),
        (lambda p, a: setattr(p._blocks[a.block_ids[0]], "content", b"other"), "for content it does not hold"),
        (lambda p, a: a.block_hashes.__setitem__(1, b"other"), "a holds block 1 with the content of others"),
        (lambda p, a: p._holders.clear(), "disagrees"),
    ],
)
def test_check_finds_damage(damage, words) -> None:
    p, a = pool(), state("a", range(9))
    admit(p, a, 9)
    p.check([a])
    damage(p, a)
    with pytest.raises(InvariantError, match=words):
        p.check([a])

"""The pool without prefix caching hands out the blocks that a BlockPool without an index would, at less cost."""

import random

import pytest

from serving.errors import InvariantError
from serving.request import NEVER, Request, RequestState
from serving.state.eviction.reuse_order import FreeQueue, Lru
from serving.state.pool import BlockPool
from serving.state.uncached_pool import UncachedPool


def state(name: str) -> RequestState:
    return RequestState.of(Request(name, 0, tuple(range(30)), 9), max_model_len=64)


@pytest.mark.parametrize("order", [Lru, FreeQueue])
def test_it_hands_out_the_blocks_of_a_pool_without_an_index(order) -> None:
    rng = random.Random("uncached")
    pools = BlockPool(12, 4, None, order()), UncachedPool(12, 4, order is Lru)
    tables: list[tuple[RequestState, RequestState]] = []
    for i in range(300):
        free, do = pools[0].num_free, rng.choice(["admit", "grow", "release"])
        if do == "admit" and free:
            count = rng.randint(1, min(free, 5))
            tables.append((state(f"r{i}"), state(f"r{i}")))
            for pool, holder in zip(pools, tables[-1], strict=True):
                pool.admit(holder, pool.hits(holder), count)
        elif do == "grow" and free and tables:
            pair = rng.choice(tables)
            assert pools[0].grow(pair[0], 1) == pools[1].grow(pair[1], 1)
        elif do == "release" and tables:
            for pool, holder in zip(pools, tables.pop(rng.randrange(len(tables))), strict=True):
                pool.release(holder)
                assert (holder.block_ids, holder.capacity, holder.publish_at) == ([], 0, NEVER)
        for one, other in tables:
            assert (one.block_ids, one.capacity, one.publish_at) == (other.block_ids, other.capacity, other.publish_at)
        assert pools[0].usage() == pools[1].usage()
        pools[1].check([holder for _, holder in tables])


def test_a_block_too_many_or_too_few_is_found() -> None:
    pool, a = UncachedPool(4, 4, True), state("a")
    pool.admit(a, pool.hits(a), 2)
    pool.check([a])
    with pytest.raises(InvariantError, match="a holds 2 blocks; the pool disagrees"):
        UncachedPool(4, 4, True).check([a])
    a.block_ids[1] = 0
    with pytest.raises(InvariantError, match="of 4 blocks, 4 are in tables or free, 3 once"):
        pool.check([a])

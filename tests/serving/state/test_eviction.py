"""Orders of eviction: what each is for, on cases small enough to follow, and each against a list that is searched."""

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ConfigError
from serving.state.block import Block
from serving.state.eviction.cost_aware import CostAware
from serving.state.eviction.fifo import Fifo
from serving.state.eviction.heap import LazyHeap
from serving.state.eviction.lfu import Lfu
from serving.state.eviction.radix_lru import RadixLru
from serving.state.eviction.registry import EVICTIONS
from serving.state.eviction.reuse_order import Lru
from serving.state.eviction.session_ttl import SessionTtl
from tests.serving.drive import runs

SECOND = 10**9
LEAVES_ONLY = ("radix-lru", "cost-aware", "session-ttl")
BLANKS_FIRST = [name for name in EVICTIONS if name != "free-queue"]


def path(text: str) -> dict:
    """What a block holds that ends the prompt `text`, one letter a block."""
    return {"content": text.encode(), "parent": text[:-1].encode() or None, "depth": len(text) - 1}


class Pool:
    """A pool in small: prompts of one letter a block; the oldest copy is hit, the last block never."""

    def __init__(self, eviction, num_blocks: int, share_last: bool = False) -> None:
        self.eviction, self.now, self.taken, self.tables = eviction, 0, [], {}
        self.blocks = [Block(i) for i in range(num_blocks)]
        self.share_last = share_last
        self.index: dict[bytes, list[Block]] = {}
        eviction.add(self.blocks, 0)

    def hits(self, prompt: str) -> list[Block]:
        found: list[Block] = []
        for i in range(len(prompt) if self.share_last else len(prompt) - 1):
            copies = self.index.get(prompt[: i + 1].encode())
            if not copies:
                break
            found.append(copies[0])
        return found

    def fits(self, prompt: str) -> bool:
        hits = self.hits(prompt)
        return len(prompt) - len(hits) <= len(self.eviction) - sum(block.references == 0 for block in hits)

    def start(self, name: str, prompt: str, session: str = "") -> int:
        """How many blocks were hit."""
        hits = self.hits(prompt)
        for block in hits:
            if block.references == 0:
                self.eviction.remove(block, self.now)
            block.references += 1
            block.num_hits += 1
        table = list(hits)
        for i in range(len(hits), len(prompt)):
            block = self.eviction.take(self.now)
            self.taken.append(block.content and block.content.decode())
            if block.content is not None:
                self.index[block.content].remove(block)
            content = path(prompt[: i + 1])
            block.content, block.parent, block.depth = content["content"], content["parent"], content["depth"]
            block.references, block.num_hits, block.published = 1, 0, len(self.taken)
            self.index.setdefault(block.content, []).append(block)
            table.append(block)
        self.tables[name] = (table, session)
        return len(hits)

    def finish(self, name: str) -> None:
        table, session = self.tables.pop(name)
        freed = []
        for block in reversed(table):
            block.references -= 1
            if block.references == 0:
                block.session_id = session
                freed.append(block)
        self.eviction.add(freed, self.now)

    def serve(self, prompt: str, session: str = "") -> int:
        hits = self.start("-", prompt, session)
        self.finish("-")
        return hits

    def cached(self) -> set[str]:
        return {block.content.decode() for block in self.eviction if block.content is not None}

    def orphans(self) -> set[str]:
        stored = {block.content for block in self.blocks}
        return {b.content.decode() for b in self.eviction if b.content and b.parent and b.parent not in stored}


def drain(eviction, now: int = 0) -> list[int]:
    return [eviction.take(now).block_id for _ in range(len(eviction))]


# ---- what all have in common


@pytest.mark.parametrize("name", EVICTIONS)
def test_a_fresh_pool_is_used_in_order_of_ids(name: str) -> None:
    eviction = EVICTIONS[name]()
    eviction.add([Block(i) for i in range(5)], 0)
    assert drain(eviction) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", BLANKS_FIRST)
def test_blocks_without_content_go_first_and_the_last_freed_of_them_before_all(name: str) -> None:
    eviction = EVICTIONS[name]()
    eviction.add([Block(0), Block(1)], 0)
    eviction.add([Block(2, **path("x"))], 1)
    eviction.add([Block(3), Block(4), Block(5, **path("y"))], 2)
    assert drain(eviction, 3) == [3, 4, 0, 1, 2, 5]


@pytest.mark.parametrize("name", EVICTIONS)
def test_a_free_block_whose_content_was_cleared_is_new_when_it_comes_back(name: str) -> None:
    eviction = EVICTIONS[name]()
    first, second = Block(0, **path("x")), Block(1, **path("y"))
    eviction.add([first, second], 0)
    eviction.remove(first, 1)
    first.content = first.parent = None
    eviction.add([first], 1)
    if name in BLANKS_FIRST:
        assert eviction.take(2) is first
    else:
        assert [eviction.take(2), eviction.take(2)] == [second, first]
        eviction.add([second], 3)
    first.content = b"z"
    eviction.add([first], 4)
    assert drain(eviction, 5) == [1, 0]


# ---- each for itself


def test_fifo_forgets_hits_where_lru_does_not() -> None:
    left = {}
    for order in (Fifo, Lru):
        pool = Pool(order(), 3, share_last=True)
        for prompt in "a", "b", "c", "a", "d":
            pool.serve(prompt)
        left[order] = pool.cached()
    assert left == {Fifo: {"b", "c", "d"}, Lru: {"a", "c", "d"}}


def test_fifo_counts_anew_when_the_same_block_holds_new_content() -> None:
    pool = Pool(Fifo(), 2, share_last=True)
    for prompt in "a", "b", "c", "d", "c", "e":  # c and d replace a and b where they were
        pool.serve(prompt)
    assert pool.taken == [None, None, "a", "b", "c"]


def test_lfu_keeps_a_popular_prefix_that_lru_loses() -> None:
    hits = {}
    for order in (Lfu, Lru):
        pool = Pool(order(), 4)
        for question in "abc":
            pool.serve("S" + question)
        for other in "1234":
            pool.serve(other)
        hits[order] = pool.serve("Sd")
    assert hits == {Lfu: 1, Lru: 0}


def test_lfu_takes_the_least_recently_used_of_equally_popular() -> None:
    eviction = Lfu()
    blocks = [Block(i, **path("abcd"[i]), num_hits=hits) for i, hits in enumerate((1, 0, 1, 0))]
    eviction.add(blocks, 0)
    eviction.remove(blocks[1], 1)
    eviction.add([blocks[1]], 1)
    assert drain(eviction) == [3, 1, 0, 2]


def test_radix_lru_takes_leaves_though_their_parents_are_older() -> None:
    """Released head first, so that Lru would begin with the root."""
    blocks = [Block(i, **path(text)) for i, text in enumerate(["a", "ab", "ac", "abd", "x"])]
    left = {}
    for order in (RadixLru, Lru):
        eviction = order()
        for block in blocks:
            eviction.add([block], 0)
        left[order] = drain(eviction)
    assert left == {RadixLru: [2, 3, 1, 0, 4], Lru: [0, 1, 2, 3, 4]}


def test_of_duplicates_that_are_continued_the_last_released_stays() -> None:
    eviction = RadixLru()
    copies = [Block(i, **path("a")) for i in range(3)]
    child = Block(3, **path("ab"))
    eviction.add([*copies, child], 0)
    eviction.remove(copies[2], 1)  # now the second of them must stay
    assert eviction.take(1) is copies[0]
    assert eviction.take(1) is child
    eviction.add([child], 2)
    eviction.add([copies[2]], 2)  # and now it may go
    assert drain(eviction, 3) == [1, 3, 2]


def test_a_parent_that_is_hit_and_comes_back_is_a_parent_still() -> None:
    eviction = RadixLru()
    parent, child = Block(0, **path("a")), Block(1, **path("ab"))
    eviction.add([parent, child], 0)
    eviction.remove(parent, 1)
    eviction.remove(child, 1)
    eviction.add([parent], 2)
    eviction.add([child], 3)
    assert drain(eviction, 4) == [1, 0]


def test_fifo_leaves_an_orphan_where_leaves_go_first() -> None:
    """The prefix came first; what continues it came later and is useless without it."""
    orphans = {}
    for order in (Fifo, RadixLru, CostAware, SessionTtl):
        pool = Pool(order(), 4)
        pool.serve("ax")
        pool.serve("aby")
        pool.serve("z1")
        orphans[order] = pool.orphans()
    assert orphans == {Fifo: {"ab"}, RadixLru: set(), CostAware: set(), SessionTtl: set()}


def test_cost_aware_keeps_the_deep_blocks_of_a_hot_document() -> None:
    document = "abcdefgh"
    hits = {}
    for order in (CostAware, Lru):
        pool = Pool(order(), 12)
        for question in "123":
            pool.serve(document + question)
        for other in "ijklmnopqrst":
            pool.serve(other)
        hits[order] = pool.serve(document + "4")
    assert hits == {CostAware: 8, Lru: 0}


def test_cost_aware_keeps_the_deeper_of_two_leaves_and_depth_counts_as_the_option_says() -> None:
    for share, first in ((0.01, 1), (0.0, 0)):
        eviction = CostAware(attention_share=share)
        eviction.add([Block(0, content=b"deep", parent=b"?", depth=9), Block(1, content=b"flat")], 0)
        assert eviction.take(1).block_id == first
    eviction = CostAware(attention_share=0.5)  # 1 + 0.5 * 4 = 3 against two hits at depth 0: a tie, and older goes
    eviction.add([Block(0, content=b"deep", parent=b"?", depth=4), Block(1, content=b"flat", num_hits=2)], 0)
    assert drain(eviction, 1) == [0, 1]


def test_cost_aware_forgets_what_was_hot_once() -> None:
    """The clock rises by 1 with every newcomer that goes; ten hits are worth ten rounds, and a tie."""
    eviction = CostAware()
    hot = Block(0, **path("h"), num_hits=10)
    eviction.add([hot], 0)
    outlived = 0
    cold = Block(1, **path("c"))
    while True:
        eviction.add([cold], 0)
        if eviction.take(0) is hot:
            break
        outlived += 1
    assert outlived == 10


def test_a_session_is_protected_through_a_flood_until_its_time_is_over() -> None:
    hits = {}
    for order in (lambda: SessionTtl(ttl_s=60), Lru):
        for pause_s in (59, 60):
            pool = Pool(order(), 6)
            pool.serve("abcd", "chat")
            pool.now = pause_s * SECOND
            for other in "123456":
                pool.serve(other)
            hits[order, pause_s] = pool.serve("abcde", "chat")
    assert list(hits.values()) == [4, 0, 0, 0]


def test_when_only_protected_blocks_are_left_the_soonest_to_expire_goes() -> None:
    eviction = SessionTtl(ttl_s=1.5)
    eviction.add([Block(0, **path("a"), session_id="A")], 0)
    eviction.add([Block(1, **path("b"), session_id="B"), Block(2, **path("c"))], SECOND)
    eviction.add([Block(3, **path("d"))], SECOND)
    assert eviction.take(SECOND).block_id == 2
    assert eviction.take(3 * SECOND // 2).block_id == 0  # expired: released before block 3
    assert drain(eviction, 2 * SECOND) == [3, 1]
    eviction.add([Block(4, **path("e"), session_id="A")], 2 * SECOND)
    eviction.add([Block(5, **path("f"), session_id="B")], 3 * SECOND)
    assert drain(eviction, 3 * SECOND) == [4, 5]


def test_a_protected_block_protects_the_prefix_that_others_used_last() -> None:
    """Found on paper: the system prompt belongs to whoever used it last, here to nobody."""
    pool = Pool(SessionTtl(), 5)
    pool.serve("Sab", "chat")
    pool.serve("Sx")
    for other in "1234":
        pool.serve(other)
    assert pool.serve("Sabc", "chat") == 3


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(("order", "option"), [(CostAware, "attention_share"), (SessionTtl, "ttl_s")])
def test_wrong_options_are_named(order, option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=option):
        order(**{option: value})


def test_a_ttl_of_zero_has_no_effect_and_is_refused() -> None:
    SessionTtl(ttl_s=0.001)
    with pytest.raises(ConfigError, match="ttl_s is 0"):
        SessionTtl(ttl_s=0)


def test_a_heap_holds_no_more_withdrawn_entries_than_others_and_16() -> None:
    heap = LazyHeap()
    blocks = [Block(i) for i in range(100)]
    for turn in range(50):
        for block in blocks[turn:]:
            heap.push((float(turn), turn * 100 + block.block_id, block))
        for block in blocks[turn:]:
            heap.discard(block)
            assert len(heap._heap) <= 2 * len(heap) + 16
        heap.push((-1.0 - turn, 10_000 + turn, blocks[turn]))
        assert heap.first()[2] is blocks[turn]


def test_a_heap_stays_in_order_when_withdrawn_entries_are_dropped() -> None:
    heap = LazyHeap()
    blocks = [Block(i) for i in range(100)]
    for block in blocks:
        heap.push((float(block.block_id * 37 % 101), block.block_id, block))
    for block in blocks[:70]:
        heap.discard(block)
    order = []
    while heap:
        rank, _, block = heap.first()
        order.append(rank)
        heap.discard(block)
    assert order == sorted(i * 37 % 101 for i in range(70, 100))


# ---- each against a list that is searched


@dataclass
class Free:
    block: Block
    batch: int
    place: int
    until: int
    priority: float = 0.0

    @property
    def age(self) -> tuple[int, int]:
        return (self.batch, self.place)


class Searched:
    """The same orders, as their docstrings say it."""

    def __init__(self, name: str) -> None:
        self.name, self.free, self.batches, self.clock = name, [], 0, 0.0

    def add(self, blocks, now: int) -> None:
        self.batches += 1
        for place, block in enumerate(blocks):
            free = Free(block, self.batches, place, now + 2 * SECOND if block.session_id else 0)
            if block.content is not None:
                free.priority = self.clock + (1 + block.num_hits) * (1 + 0.5 * block.depth)
            self.free.append(free)

    def remove(self, block: Block, now: int) -> None:
        self.free = [free for free in self.free if free.block is not block]

    def take(self, now: int) -> Block:
        blank = [free for free in self.free if free.block.content is None]
        if blank and self.name != "free-queue":
            goes = min(blank, key=lambda free: (-free.batch, free.place))
        else:
            goes = min(filter(self.may_go, self.free), key=lambda free: (self.key(free, now), free.age))
            self.clock = max(self.clock, goes.priority)
        self.free.remove(goes)
        return goes.block

    def may_go(self, free: Free) -> bool:
        if self.name not in LEAVES_ONLY:
            return True
        continued = any(other.block.parent == free.block.content for other in self.free)
        return not continued or any(o.block.content == free.block.content and o.age > free.age for o in self.free)

    def key(self, free: Free, now: int):
        if self.name == "fifo":
            return free.block.published
        if self.name == "lfu":
            return free.block.num_hits
        if self.name == "cost-aware":
            return free.priority
        if self.name == "session-ttl":
            return free.until if free.until > now else 0
        return 0


def configured(name: str):
    options = {"cost-aware": {"attention_share": 0.5}, "session-ttl": {"ttl_s": 2}}
    return EVICTIONS[name](**options.get(name, {}))


TEXTS = ["a", "ab", "ac", "abd", "abe", "abdf", "g", "gh"]


@pytest.mark.parametrize("name", EVICTIONS)
@given(rng=st.randoms(use_true_random=False), size=st.integers(1, 24), steps=st.integers(1, 80))
@settings(max_examples=runs(150), deadline=None, derandomize=True)
def test_each_order_agrees_with_a_search(name: str, rng, size: int, steps: int) -> None:
    """Any blocks with any content in any order, duplicates and missing parents too."""
    eviction, searched, now = configured(name), Searched(name), 0
    free = [Block(i) for i in range(size)]
    held: list[Block] = []
    eviction.add(free, now)
    searched.add(free, now)
    for step in range(steps):
        now += rng.choice([0, 0, SECOND // 2, SECOND])
        cached = [block for block in free if block.content is not None]
        action = rng.choice(["take", "take", "add", "add", "hit", "clear"])
        if action == "take" and free:
            block = eviction.take(now)
            assert block is searched.take(now)
            free.remove(block)
            held.append(block)
            block.content, block.parent, block.depth, block.num_hits = None, None, 0, 0
            if rng.random() < 0.8:
                for field, value in path(rng.choice(TEXTS)).items():
                    setattr(block, field, value)
                block.published = step
        elif action == "add" and held:
            batch = rng.sample(held, rng.randint(1, min(4, len(held))))
            for block in batch:
                held.remove(block)
                block.session_id = rng.choice(["", "A", "B"])
            free += batch
            eviction.add(batch, now)
            searched.add(batch, now)
        elif action == "hit" and cached:
            block = rng.choice(cached)
            before = rng.random() < 0.5
            block.num_hits += before
            eviction.remove(block, now)
            searched.remove(block, now)
            block.num_hits += not before
            free.remove(block)
            held.append(block)
        elif action == "clear" and cached:
            block = rng.choice(cached)
            eviction.remove(block, now)
            searched.remove(block, now)
            block.content, block.parent = None, None
            eviction.add([block], now)
            searched.add([block], now)
        assert len(eviction) == len(free)
        assert sorted(block.block_id for block in eviction) == sorted(block.block_id for block in free)
    while free:
        block = eviction.take(now)
        assert block is searched.take(now)
        free.remove(block)
    assert len(eviction) == 0
    assert list(eviction) == []


def run(pool: Pool, rng, check) -> None:
    """Requests come and go, with prompts of a small tree."""
    for number in range(40):
        pool.now += rng.choice([0, SECOND])
        prompt = "".join(rng.choice("ab") for _ in range(rng.randint(1, 5)))
        if rng.random() < 0.6 and pool.fits(prompt):
            pool.start(f"r{number}", prompt, rng.choice(["", "A"]))
        elif pool.tables:
            pool.finish(rng.choice(list(pool.tables)))
        check()


@pytest.mark.parametrize("name", LEAVES_ONLY)
@given(rng=st.randoms(use_true_random=False), num_blocks=st.integers(5, 20))
@settings(max_examples=runs(150), deadline=None, derandomize=True)
def test_leaves_first_never_leaves_an_orphan(name: str, rng, num_blocks: int) -> None:
    pool = Pool(configured(name), num_blocks)

    def check() -> None:
        assert pool.orphans() == set()

    run(pool, rng, check)


@given(seed=st.integers(0, 2**32), num_blocks=st.integers(5, 20))
@settings(max_examples=runs(150), deadline=None, derandomize=True)
def test_released_tail_first_and_without_duplicates_radix_lru_is_lru(seed: int, num_blocks: int) -> None:
    taken = []
    for order in (RadixLru, Lru):
        pool = Pool(order(), num_blocks, share_last=True)
        run(pool, Random(seed), lambda: None)
        taken.append(pool.taken)
    assert taken[0] == taken[1]

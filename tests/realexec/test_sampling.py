"""Sampling: the definition, the right distribution, and a request's tokens are its own."""

from hashlib import blake2b
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("numba")

from scipy.stats import chi2

from realexec.race import fill_uniform
from realexec.runner import Runner
from realexec.sampling import Draws, Masked, Sampler, Sampling, Samplings, splitmix
from serving.errors import ConfigError, InvariantError, RequestError
from tests.realexec.plans import World
from tests.realexec.reference import tiny


def draws_of(
    samplings: list[Sampling], names: list[str], positions: list[int], num_output: list[int] | None = None
) -> Draws:
    known = Samplings(Sampling())
    for name, sampling in zip(names, samplings, strict=True):
        known.add(name, sampling)
    outputs = [0] * len(names) if num_output is None else num_output
    return known.draws(names, np.array(positions, np.int64), np.array(outputs, np.int64))


def draw(sampling: Sampling, logits: np.ndarray, names: list[int], positions: list[int]) -> list[int]:
    """names: may repeat."""
    known = Samplings(Sampling())
    for name in set(names):
        known.add(str(name), sampling)
    at = np.array(positions, np.int64)
    return Sampler()(logits.astype(np.float32), known.draws([str(n) for n in names], at, np.zeros_like(at)))


def kept(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """By the definition, in float64: every threshold t tried in turn."""
    keeps = np.ones(len(logits), bool)
    if top_k:
        keeps &= logits >= np.sort(logits)[::-1][min(top_k, len(logits)) - 1]
    mass = np.where(keeps, np.exp((logits - logits.max()) / temperature), 0.0)
    if top_p < 1:
        for threshold in np.unique(logits)[::-1]:
            if mass[logits >= threshold].sum() >= top_p * mass.sum():
                keeps &= logits >= threshold
                break
    return keeps


def scores(logits: np.ndarray, word: int, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """What the token is the argmax of, in float64; with the noise's own uniform numbers."""
    u = np.empty((1, len(logits)), np.float32)
    fill_uniform(np.array([word], np.uint64), u)
    with np.errstate(divide="ignore"):
        gumbel = -np.log(-np.log1p(-u[0].astype(np.float64)))
    return np.where(kept(logits, temperature, top_k, top_p), logits / temperature + gumbel, -np.inf)


def nuclei_differ(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> bool:
    """Whether float32 may put the edge of the nucleus elsewhere: another token's mass is that near."""
    near = [kept(logits, temperature, top_k, min(1.0, top_p * (1 + error))) for error in (-1e-5, 1e-5)]
    return not np.array_equal(near[0], near[1])


ROWS = st.fixed_dictionaries(
    {
        "vocab": st.sampled_from([1, 2, 3, 17, 511, 512, 513, 1300]),
        "scale": st.sampled_from([0.01, 1.0, 4.0, 60.0]),
        "levels": st.sampled_from([0, 2, 6]),  # how many different logits there are; 0: as many as tokens
        "absent": st.sampled_from([0.0, 0.3, 0.99]),  # share of tokens whose logit is -inf
        "temperature": st.sampled_from([1e-30, 0.01, 0.6, 1.0, 5.0, 1e30]),
        "top_k": st.sampled_from([0, 1, 2, 5, 40, 1300, 5000]),
        "top_p": st.sampled_from([1e-50, 1e-6, 0.3, 0.9, 0.999, 1.0]),
        "seed": st.integers(0, 10**6),
    }
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_tokens_are_those_of_the_definition(rows) -> None:
    """The float64 definition decides; in ties nearer than float32 can tell, any of the tied is right."""
    sampler = Sampler()  # of one life, so that scratch of one vocabulary is reused for the next
    for row in rows:
        rng = np.random.default_rng(row["seed"])
        logits = rng.normal(0, row["scale"], (2, row["vocab"]))
        if row["levels"]:
            logits = row["scale"] * rng.integers(0, row["levels"], logits.shape)
        logits[rng.random(logits.shape) < row["absent"]] = -np.inf
        logits[:, rng.integers(row["vocab"])] = row["scale"]
        logits = logits.astype(np.float32).astype(np.float64)
        how = Sampling(row["temperature"], row["top_k"], row["top_p"], row["seed"])
        draws = draws_of([how, how], ["a", "b"], [3, 9])
        tokens = sampler(logits.astype(np.float32), draws)
        for i, token in enumerate(tokens):
            asked = float(draws.temperatures[i]), how.top_k, float(draws.top_ps[i])
            if nuclei_differ(logits[i], *asked):
                continue
            expected = scores(logits[i], int(draws.words[i]), *asked)
            assert expected.max() - expected[token] <= 2e-6 * max(1.0, row["scale"] / asked[0]), (i, expected.argmax())


def test_rows_of_a_real_vocabulary_are_drawn_as_in_float64() -> None:
    logits = np.random.default_rng(5).normal(0, 2, (24, 32000)).astype(np.float32)
    samplings = [Sampling(t, k, p) for t in (0.0, 0.6, 1.0, 2.0) for k, p in ((0, 1.0), (50, 1.0), (0, 0.9))] * 2
    draws = draws_of(samplings, [f"r{i}" for i in range(24)], list(range(24)))
    expected = []
    for i, how in enumerate(samplings):
        row = logits[i].astype(np.float64)
        if how.top_p < 1:  # every threshold in turn would take minutes
            mass = np.sort(np.exp((row - row.max()) / (how.temperature or 1)))[::-1]
            least = np.flatnonzero(mass.cumsum() >= float(np.float32(how.top_p)) * mass.sum())[0]
            row[row < np.sort(row)[::-1][least]] = -np.inf
        word = int(draws.words[i])
        expected.append(int((scores(row, word, how.temperature, how.top_k, 1.0) if how.temperature else row).argmax()))
    assert Sampler()(logits, draws) == expected
    assert len(set(expected)) > 15


def test_greedy_takes_the_largest_and_the_first_of_equals() -> None:
    assert draw(Sampling(), np.array([[0, 3, 1], [2, 1, 2], [0.0, -0.0, -1]]), [1, 2, 3], [0, 0, 0]) == [1, 0, 0]
    assert draw(Sampling(0.5), np.zeros((0, 3)), [], []) == []


def test_ties_stay_together() -> None:
    """Of four equal tokens top_k=1 and a tiny top_p keep all four, -0 among them, and nothing else."""
    logits = np.tile(np.array([0.0, -1.0, -0.0, 0.0, -1e-30, -2.0, 0.0]), (400, 1))
    for how in (Sampling(1.0, top_k=1), Sampling(1.0, top_p=0.01), Sampling(1.0, top_k=3, top_p=0.5)):
        assert set(draw(how, logits, [1] * 400, list(range(400)))) == {0, 2, 3, 6}


@pytest.mark.parametrize(("largest", "token"), [(-np.inf, 0), (np.inf, 3), (np.nan, 3)])
def test_a_row_without_a_finite_largest_logit_gets_what_greedy_gets(largest, token) -> None:
    logits = np.full((1, 5), -np.inf)
    logits[0, 3] = largest
    assert draw(Sampling(1.0, top_k=2, top_p=0.5), logits, [1], [1]) == [token]


@pytest.mark.parametrize("vary", ["position", "request", "seed"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_distribution(vary, temperature) -> None:
    """Chi-square over 12 tokens whose odds span a factor of 150 or more, 20,000 draws. Fails by chance once in
    10,000 changes of the hash a case; the draws are fixed, so it never fails by chance from run to run."""
    draws = 20_000
    one = np.linspace(-3, 3, 12) * temperature * 0.85
    logits = np.tile(one, (draws, 1))
    numbers = list(range(draws))
    if vary == "seed":
        seeded = draws_of([Sampling(temperature, seed=s) for s in numbers], [str(s) for s in numbers], [9] * draws)
        tokens = Sampler()(logits.astype(np.float32), seeded)
    elif vary == "position":
        tokens = draw(Sampling(temperature), logits, [5] * draws, numbers)
    else:
        tokens = draw(Sampling(temperature), logits, numbers, [9] * draws)
    odds = np.exp(one / temperature)
    expected = draws * odds / odds.sum()
    statistic = ((np.bincount(tokens, minlength=12) - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(1e-4, df=11)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.8), (8, 0.9)])
def test_distribution_of_what_is_kept(top_k, top_p) -> None:
    """As above: the kept tokens keep their odds, and only they are drawn."""
    draws, one = 20_000, np.linspace(-1, 1, 12)[[3, 7, 1, 11, 0, 5, 9, 2, 10, 4, 8, 6]]
    tokens = draw(Sampling(1.0, top_k, top_p), np.tile(one, (draws, 1)), [5] * draws, list(range(draws)))
    keeps = kept(one, 1.0, top_k, top_p)
    assert 2 < keeps.sum() < 12
    counts = np.bincount(tokens, minlength=12)
    assert not counts[~keeps].any()
    expected = draws * np.exp(one[keeps]) / np.exp(one[keeps]).sum()
    assert ((counts[keeps] - expected) ** 2 / expected).sum() < chi2.isf(1e-4, df=int(keeps.sum()) - 1)


def test_flat_odds_over_a_large_vocabulary() -> None:
    """Thirty-two thousand equal tokens in 64 bins: coarse noise would tie, and ties favour small token ids. Odds of
    a false alarm at a change of the hash: 1 in 10,000."""
    draws = 6400
    tokens = []
    for first in range(0, draws, 64):
        tokens += draw(Sampling(1.0), np.zeros((64, 32000)), [3] * 64, list(range(first, first + 64)))
    expected = draws / 64
    statistic = ((np.bincount(np.array(tokens) // 500, minlength=64) - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(1e-4, df=63)


def test_the_race_of_equals_is_decided_by_the_last_bit_of_the_noise() -> None:
    """1 - u in float32 would make one number of all u below 3e-8: a tie in every 35th race of 500,000."""
    draws = draws_of([Sampling(1.0)] * 100, [str(i) for i in range(100)], [0] * 100)
    sampler, row, u = Sampler(), np.zeros((1, 500_000), np.float32), np.empty((1, 500_000), np.float32)
    for i in range(100):
        fill_uniform(draws.words[i : i + 1], u)
        alone = Draws(draws.temperatures[:1], draws.top_ks[:1], draws.top_ps[:1], draws.words[i : i + 1])
        assert sampler(row, alone) == [u[0].argmin()]


def test_words_are_made_of_seed_request_and_position() -> None:
    """What realexec/kernels and the reader of a record need to know; key: of the id, or 0 beside an own seed."""
    known = Samplings(Sampling(1.0, seed=3))
    known.add("b", Sampling(1.0, seed=-1))
    key = int.from_bytes(blake2b(b"a", digest_size=8).digest(), "little")
    expected = [
        splitmix(splitmix(splitmix(3) ^ key) ^ 10),
        splitmix(splitmix(splitmix(2**64 - 1)) ^ 11),
    ]
    assert known.draws(["a", "b"], np.array([10, 11]), np.zeros(2, np.int64)).words.tolist() == expected


def test_draws_of_neighbouring_requests_and_positions_are_independent() -> None:
    """Pairs of draws over 4 x 4 equal cells, chi-square, false alarm 1 in 10,000 at a change of the hash."""
    flat = np.zeros((4000, 4))
    for other in ([5] * 4000, [6] * 4000):
        here = draw(Sampling(1.0), flat, [5] * 4000, list(range(4000)))
        there = draw(Sampling(1.0), flat, other, list(range(1, 4001)))
        counts = np.bincount(np.array(here) * 4 + np.array(there), minlength=16)
        assert ((counts - 250) ** 2 / 250).sum() < chi2.isf(1e-4, df=15)


def mixed(word: int, column: int) -> int:
    """The hash that every device must compute, in integers without a width."""
    low, high, h = word % 2**32, word >> 32, column
    h ^= low
    for added in (0, high):
        h = (h + added) % 2**32
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        h ^= h >> 16
    return h


def test_uniform_numbers_are_the_hash_of_word_and_column() -> None:
    words = [0, 1, 0x0123456789ABCDEF, 2**64 - 1]
    u = np.empty((4, 3000), np.float32)
    fill_uniform(np.array(words, np.uint64), u)
    expected = np.array([[mixed(word, column) for column in range(3000)] for word in words], np.float32)
    np.testing.assert_array_equal(u, (expected + np.float32(0.5)) * np.float32(2.0**-32))
    assert u.min() > 0
    assert u.max() <= 1


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    """Each row as if it were alone, whatever is mixed: greedy, filters, masks."""
    rng = Random(3)
    logits = np.random.default_rng(3).normal(0, 1, (40, 700)).astype(np.float32)
    samplings = [
        Sampling(rng.choice((0.0, 0.7, 1.5)), rng.choice((0, 3, 20)), rng.choice((0.5, 0.95, 1.0)), min_tokens=4,
                 stop_token_ids=(rng.randrange(700),))
        for _ in range(40)
    ]  # fmt: skip
    names, positions = [f"r{i}" for i in range(40)], [rng.randrange(100) for _ in range(40)]
    num_output = [rng.randrange(8) for _ in range(40)]
    together = Sampler()(logits.copy(), draws_of(samplings, names, positions, num_output))
    sampler = Sampler()
    for i in rng.sample(range(40), 40):
        alone = draws_of(samplings[i : i + 1], names[i : i + 1], positions[i : i + 1], num_output[i : i + 1])
        assert sampler(logits[i : i + 1].copy(), alone) == together[i : i + 1]


def test_a_seed_of_its_own_makes_a_request_the_same_under_any_name() -> None:
    flat = np.zeros((4, 5000))
    runner_1, runner_2 = Samplings(Sampling(seed=1)), Samplings(Sampling(seed=2))
    for known in (runner_1, runner_2):
        known.add("a", Sampling(1.0, seed=-7))
        known.add("b", Sampling(1.0, seed=-7))
        known.add("c", Sampling(1.0))
        known.add("d", Sampling(1.0))
    at, zero = np.full(4, 6), np.zeros(4, np.int64)
    first, second = (
        Sampler()(flat.astype(np.float32), known.draws(list("abcd"), at, zero)) for known in (runner_1, runner_2)
    )
    assert first[0] == first[1] == second[0] == second[1]
    assert len({*first, *second}) == 5


def test_a_default_with_a_seed_still_gives_each_request_its_own_noise() -> None:
    known = Samplings(Sampling(1.0, seed=3))
    draws = known.draws(["a", "b"], np.array([4, 4]), np.zeros(2, np.int64))
    assert draws.words[0] != draws.words[1]


def test_stop_tokens_are_masked_until_enough_are_there() -> None:
    how = Sampling(min_tokens=2, stop_token_ids=(1, 2))
    draws = draws_of([how, how, Sampling()], ["a", "b", "c"], [9, 9, 9], [1, 2, 0])
    assert draws.masked == (Masked(0, (1, 2)),)
    assert Sampler()(np.tile(np.array([0, 3, 2], np.float32), (3, 1)), draws) == [0, 1, 1]


def run(order: str, chunk: int, preempts: bool = False) -> dict[str, list[int]]:
    runner, world = Runner.on_cpu(tiny(), 60, 4, sampling=Sampling(1.0, seed=7)), World(60, 4, seed=chunk)
    runner.sample_with("d", Sampling(1.2, top_k=30, top_p=0.9))
    for name in order:
        world.add(name, [ord(name) % 97] * 12)
    for step in range(60):
        if preempts and step % 3 == 2:
            world.preempt(order[step % len(order)])
        batch = [(r, min(world.left(r), chunk)) for r in order if world.left(r) and len(world.requests[r].tokens) < 24]
        if not batch:
            break
        plan = world.step(batch)
        runner.accept(plan, world.accept(plan, runner.execute(runner.prepare(plan))))
    return {name: world.requests[name].tokens[12:24] for name in order}


def test_a_batch_does_not_change_what_a_request_draws() -> None:
    together = run("abcd", 12)
    for name in "bd":
        assert together[name] == run(name, 5)[name] == run("dcba", 3)[name] == run("bda", 12, preempts=True)[name]
        assert len(together[name]) == 12
    assert len({tuple(tokens) for tokens in together.values()}) == 4


def test_what_is_released_is_forgotten_and_what_is_preempted_is_not() -> None:
    runner, world = Runner.on_cpu(tiny(), 8, 4), World(8, 4)
    known = runner._sequences._samplings
    for i in range(50):
        name = f"r{i}"
        runner.sample_with(name, Sampling(1.0, seed=i))
        world.add(name, [5] * 6)
        for _ in range(2):
            plan = world.step([(name, world.left(name))])
            runner.accept(plan, world.accept(plan, runner.execute(runner.prepare(plan))))
            world.preempt(name)
        assert len(known) <= 2
        world.release(name)
    runner.sample_with("waits", Sampling(1.0))
    runner.forget(["waits", "r49"])
    assert len(known) == 0


def test_telling_too_late_or_twice_is_an_error() -> None:
    runner, world = Runner.on_cpu(tiny(), 8, 4), World(8, 4)
    runner.sample_with("a", Sampling(1.0))
    with pytest.raises(InvariantError, match="a is told how to sample, but one of that name"):
        runner.sample_with("a", Sampling(1.0))
    world.add("b", [1, 2, 3])
    runner.prepare(world.step([("b", 2)]))
    with pytest.raises(InvariantError, match="b is told how to sample after it was admitted"):
        runner.sample_with("b", Sampling(1.0))
    with pytest.raises(RequestError, match=r"c has stop token 97, but model tiny knows 0 \.\. 96"):
        runner.sample_with("c", Sampling(stop_token_ids=(3, 97)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
        ("min_tokens", -1),
        ("stop_token_ids", (4, -2)),
    ],
)
def test_an_impossible_value_names_its_field(field, value) -> None:
    with pytest.raises(ConfigError, match=field):
        Sampling(**{field: value})

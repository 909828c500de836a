"""A synthetic twin: as close to its source as it says, of any length, and the same for the same seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError, WorkloadError
from workloads.arrivals.poisson import Poisson
from workloads.fit import Twin, fit
from workloads.fitting.marginal import LENGTH_FAMILIES, coupled_shares, even_shares, fit_marginal, rank_correlation
from workloads.fitting.prefixes import fit_prefixes
from workloads.statistics.prefixes import leading_hits
from workloads.streams import stream
from workloads.traces import read_trace
from workloads.workload import Workload, WorkloadRequest


@pytest.mark.parametrize(
    "file",
    [
        "AzureLLMInferenceTrace_code.csv.gz",
        "AzureLLMInferenceTrace_conv.csv.gz",
        "mooncake_conversation_trace.jsonl.gz",
        "mooncake_synthetic_trace.jsonl.gz",
    ],
)
def test_twins_of_the_traces_are_close(repo: Path, file: str) -> None:
    place = repo.parent / "shared" / "traces" / file
    if not place.exists():
        pytest.skip(f"{place} is absent: the project does not ship public traces")
    got = fit(read_trace(place)[0], name="twin", seed=1)
    assert_close(got)
    assert got.ks_gaps <= 0.03


def assert_close(got: Twin) -> None:
    source, twin = got.source, got.twin
    assert got.ks_prompt <= 0.03
    assert got.ks_output <= 0.03
    assert twin.prompt.mean == pytest.approx(source.prompt.mean, rel=0.03)
    assert twin.output.mean == pytest.approx(source.output.mean, rel=0.03)
    assert twin.arrivals.rate == pytest.approx(source.arrivals.rate, rel=0.03)
    assert twin.arrivals.dispersion == pytest.approx(source.arrivals.dispersion, rel=0.3)
    assert twin.prefixes.hit_tokens == pytest.approx(source.prefixes.hit_tokens, abs=0.03)
    assert twin.prefixes.requests_with_hit == pytest.approx(source.prefixes.requests_with_hit, abs=0.03)


def plain(num: int = 400, seed: int = 0, rate: float = 5.0) -> Workload:
    """Poisson arrivals, lognormal prompts, outputs that grow with them."""
    rng = stream(seed, "test")
    prompts = np.maximum(1, np.rint(np.exp(5 + 0.8 * rng.standard_normal(num)))).astype(int).tolist()
    outputs = [max(1, round(p * float(f))) for p, f in zip(prompts, rng.uniform(0.2, 0.6, num), strict=True)]
    times = Poisson().times(rate, num, rng)
    return Workload(
        "plain",
        tuple(
            WorkloadRequest(f"{i:04}", t, p, o, o)
            for i, (t, p, o) in enumerate(zip(times, prompts, outputs, strict=True))
        ),
    )


def chats(sessions: int = 60) -> Workload:
    """Sessions of one to four turns that begin with one of two system prompts."""
    rng = stream(3, "chats")
    made: list[WorkloadRequest] = []
    for s, begin in enumerate(Poisson().times(1.0, sessions, rng)):
        before: WorkloadRequest | None = None
        for turn in range(1, 2 + s % 4):
            own, output = (int(v) for v in rng.integers(5, 60, 2))
            history = 32 if before is None else before.prompt_len + before.output_len
            before = WorkloadRequest(
                f"{s:03}-{turn}",
                begin,
                history + own,
                output,
                output,
                prefix=((f"system {s % 2}", 32),) if before is None else (),
                session_id=f"s{s}",
                turn=turn,
                parent=() if before is None else (before.request_id,),
                think_time=0 if before is None else int(rng.integers(1, 9)) * 10**9,
            )
            made.append(before)
    return Workload("chats", tuple(made))


def test_families_are_found_again() -> None:
    got = fit(plain(4000), name="twin", seed=2)
    family = {c.quantity: c.family for c in got.choices}
    assert family["prompt"] == "lognormal"
    assert family["gaps"] in ("exponential", "gamma", "weibull")  # of which the exponential is a case
    assert_close(got)
    pairs = [[(r.prompt_len, r.output_len) for r in w.requests] for w in (plain(4000), got.workload)]
    source, twin = (rank_correlation(*np.array(p, dtype=float).T) for p in pairs)
    assert twin == pytest.approx(source, abs=0.03)


def test_without_families_the_sample_is_drawn_from() -> None:
    got = fit(plain(), name="twin", max_ks=0.0)
    assert {c.family.partition(",")[0] for c in got.choices} == {"empirical"}
    lengths = {r.prompt_len for r in plain().requests}
    assert {r.prompt_len for r in got.workload.requests} <= lengths


@pytest.mark.parametrize("source", [plain(), chats()], ids=lambda w: w.name)
@pytest.mark.parametrize("num", [1, 2, 37, 1000])
def test_twins_of_any_length(source: Workload, num: int) -> None:
    got = fit(source, name="twin", num_requests=num)
    assert len(got.workload.requests) == num
    if num == 1000:
        assert got.twin.arrivals.rate == pytest.approx(got.source.arrivals.rate, rel=0.15)


def test_sessions_keep_turns_think_times_and_system_prompts() -> None:
    source = chats(200)
    got = fit(source, name="twin", seed=5)
    assert got.source.turns is not None
    assert got.twin.turns is not None
    assert got.twin.turns.requests_per_session == pytest.approx(got.source.turns.requests_per_session, rel=0.05)
    assert len({r.session_id for r in got.workload.requests}) == got.twin.turns.sessions
    assert {r.prefix for r in got.workload.requests if r.turn == 1} == {(("system 0", 32),), (("system 1", 32),)}
    assert {r.think_time for r in got.workload.requests if r.parent} <= {r.think_time for r in source.requests}
    assert got.twin.prefixes.hit_tokens == pytest.approx(got.source.prefixes.hit_tokens, abs=0.05)
    assert got.ks_prompt < 0.1  # sums of independent turns


def test_same_seed_same_twin() -> None:
    first, again, other = (fit(plain(), name="t", seed=seed).workload.sha256 for seed in (1, 1, 2))
    assert first == again != other


def test_what_is_not_in_the_twin_is_told() -> None:
    source = plain(20)
    rich = Workload("w", tuple(replace(r, tenant="x", priority=1, max_tokens=9999) for r in source.requests))
    assert fit(rich, name="t").notes == (
        "not in the twin: tenants, which 20 requests of the source have",
        "not in the twin: priorities, which 20 requests of the source have",
        "not in the twin: room in max_tokens above the output, which 20 requests of the source have",
    )


def test_what_cannot_be_fitted_is_refused() -> None:
    one = WorkloadRequest("a", 0, 5, 5, 5)
    with pytest.raises(WorkloadError, match="at 1 instants are too few"):
        fit(Workload("w", (one, replace(one, request_id="b"))), name="t")
    mixed = [replace(one, request_id=str(i), arrival_time=i, hash_ids=(i,) if i else None) for i in range(5)]
    with pytest.raises(WorkloadError, match=r"several ways \(hash ids of 512 tokens, own text\)"):
        fit(Workload("w", tuple(mixed)), name="t")
    tree = [one, *(replace(one, request_id=c, parent=("a",)) for c in "bc")]
    with pytest.raises(WorkloadError, match="request c: waits for several requests, or beside another"):
        fit(Workload("w", tuple(tree)), name="t")
    with pytest.raises(ConfigError, match="requests is 0"):
        fit(plain(), name="t", num_requests=0)
    with pytest.raises(ConfigError, match="max-ks is 2"):
        fit(plain(), name="t", max_ks=2.0)


@given(st.integers(1, 60), st.integers(0, 9))
def test_even_shares_are_one_in_each_part(num: int, seed: int) -> None:
    for shares in (even_shares(num, stream(seed, "s")), *coupled_shares(num, 0.7, stream(seed, "s"))):
        assert sorted(np.floor(shares * num).astype(int).tolist()) == list(range(num))


@pytest.mark.parametrize("wanted", [-0.8, -0.3, 0.0, 0.5, 0.95])
def test_coupled_shares_correlate_as_asked(wanted: float) -> None:
    a, b = coupled_shares(20_000, wanted, stream(1, "s"))
    assert rank_correlation(a, b) == pytest.approx(wanted, abs=0.02)  # standard error at most 0.007


def test_a_family_is_taken_only_if_it_is_close() -> None:
    two_peaks = np.array([10.0] * 50 + [1000.0] * 50 + [500.0])
    assert fit_marginal(two_peaks, LENGTH_FAMILIES, 0.1).family == "empirical"
    assert fit_marginal(two_peaks, LENGTH_FAMILIES, 1.0).family in LENGTH_FAMILIES
    assert fit_marginal(np.array([7.0, 7.0]), LENGTH_FAMILIES, 1.0).family == "empirical"


chains = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=30)


@given(chains, st.integers(0, 5))
def test_drawn_prefixes_are_blocks_of_their_prompts(many: list[list[int]], seed: int) -> None:
    from workloads.chained import ChainedIds

    chained = ChainedIds()
    ids = [chained.of(one) for one in many]
    times = np.arange(len(ids), dtype=np.int64) * 10**9
    prompts = np.array([4 * len(one) - 1 for one in ids], dtype=np.int64)
    model = fit_prefixes(ids, times, prompts, 4)
    drawn = model.draw(times, prompts, stream(seed, "prefixes"))
    assert [len(one) for one in drawn] == [len(one) for one in ids]
    before: dict[int, tuple[int, ...]] = {}
    for one in drawn:
        for i, hash_id in enumerate(one):  # chained: an id is always behind the same ids
            assert before.setdefault(hash_id, one[:i]) == one[:i]
        assert 0 <= leading_hits(one, before) <= len(one)


@given(st.lists(st.floats(0, 1e7, allow_subnormal=False), min_size=1, max_size=40))
def test_any_sample_can_be_fitted(values: list[float]) -> None:
    sample = np.array(values)
    model = fit_marginal(sample, LENGTH_FAMILIES, 0.2)
    drawn = model.quantiles(even_shares(20, stream(0, "s")))
    assert np.isfinite(drawn).all()
    assert (drawn >= 0).all()

"""A workload in numbers: by hand, and as published for the traces."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from workloads.describe import Description, describe
from workloads.statistics.arrivals import arrival_statistics
from workloads.statistics.summary import ks_distance, summary
from workloads.traces import read_trace
from workloads.workload import Workload, WorkloadRequest

SECOND = 1_000_000_000


def table(repo: Path, heading: str) -> dict[str, list[str]]:
    """The rows of a table of the published statistics, by their first cell."""
    place = repo.parent / "shared" / "traces" / "trace-statistics.md"
    if not place.exists():
        pytest.skip(f"{place} is absent: the project does not ship public traces")
    section = place.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


@cache
def described(repo: Path, file: str) -> Description:
    place = repo.parent / "shared" / "traces" / file
    if not place.exists():
        pytest.skip(f"{place} is absent: the project does not ship public traces")
    return describe(read_trace(place)[0])


FILES = {
    "Azure2023 code": "AzureLLMInferenceTrace_code.csv.gz",
    "Azure2023 conv": "AzureLLMInferenceTrace_conv.csv.gz",
    "Mooncake conversation": "mooncake_conversation_trace.jsonl.gz",
    "Mooncake synthetic": "mooncake_synthetic_trace.jsonl.gz",
}


def digits(value: float, printed: str) -> str:
    """The value with the digits that are printed."""
    return f"{value:.{len(printed.partition('.')[2])}f}"


@pytest.mark.parametrize("trace", FILES)
def test_the_traces_are_as_published(repo: Path, trace: str) -> None:
    lengths, arrivals = table(repo, "1. Lengths"), table(repo, "2. Arrivals")
    got = described(repo, FILES[trace])
    for part in ("prompt", "output"):
        n, mean, std, p50, p90, p99, most = lengths[f"{trace} {part}"][:7]
        s = getattr(got, part)
        assert str(got.requests) == n
        for value, printed in zip((s.mean, s.p50, s.p90, s.p99, s.max), (mean, p50, p90, p99, most), strict=True):
            assert abs(value - float(printed)) <= 0.5 * 10.0 ** -len(printed.partition(".")[2]) + 1e-9
        assert s.std == pytest.approx(float(std), abs=0.11)
    n, span, rate, cv, window_cv, _, _, _, dispersion, peak, zero = arrivals[trace]
    a = got.arrivals
    assert (str(a.count), digits(a.span_s, span)) == (n, span)
    assert a.rate is not None
    assert abs(a.rate - float(rate)) < 0.0011  # gaps per second there, requests per second here
    for value, printed in (
        (a.gap_cv, cv),
        (a.window_gap_cv, window_cv),
        (a.dispersion, dispersion),
        (a.peak_to_mean, peak),
        (a.zero_gaps, zero),
    ):
        assert value is not None
        assert digits(value, printed) == printed


@pytest.mark.parametrize("trace", ["Mooncake conversation", "Mooncake synthetic"])
def test_shared_prefixes_are_as_published(repo: Path, trace: str) -> None:
    block, _, hit_blocks, hit_tokens, with_hit, *_ = table(repo, "3. Prefix sharing")[trace]
    got = described(repo, FILES[trace])
    assert str(got.prefixes.block) == block
    assert digits(got.prefixes.hit_blocks, hit_blocks) == hit_blocks
    assert digits(got.prefixes.hit_tokens, hit_tokens) == hit_tokens
    assert digits(got.prefixes.requests_with_hit, with_hit) == with_hit
    sessions, per_session, mean, p90, p99, most = {
        "Mooncake conversation": (8057, "1.49", "1.88", 3, 12, 43),
        "Mooncake synthetic": (2549, "1.57", "2.49", 6, 15, 24),
    }[trace]
    assert got.turns is not None
    assert got.turns.inferred
    assert got.turns.sessions == sessions
    assert digits(got.turns.requests_per_session, per_session) == per_session
    assert digits(got.turns.turn.mean, mean) == mean
    assert (got.turns.turn.p90, got.turns.turn.p99, got.turns.turn.max) == (p90, p99, most)


def test_arrivals_by_hand() -> None:
    got = arrival_statistics(np.array([0, 1, 1, 3], dtype=np.int64) * SECOND)
    assert (got.count, got.span_s, got.rate) == (4, 3.0, 4 / 3)
    assert got.gap_cv == pytest.approx(np.std([1, 0, 2]) / 1)
    assert got.dispersion == pytest.approx(np.var([1, 2, 0]) / 1)
    assert got.zero_gaps == pytest.approx(1 / 3)
    assert got.window_gap_cv is got.peak_to_mean is None
    alone = arrival_statistics(np.array([5], dtype=np.int64))
    assert (alone.count, alone.span_s, alone.rate, alone.gap_cv) == (1, 0.0, None, None)


def request(name: str, prompt_len: int, at: int = 0, **more: object) -> WorkloadRequest:
    return WorkloadRequest(name, at * SECOND, prompt_len, 8, 8, **more)  # type: ignore[arg-type]


def test_a_session_and_a_system_prompt_by_hand() -> None:
    load = Workload(
        "w",
        (
            request("a", 48, prefix=(("system", 32),), session_id="s", tenant="x"),
            request("b", 80, turn=2, parent=("a",), session_id="s"),
            request("c", 40, at=10, prefix=(("system", 32),)),
            request("d", 16, at=20),
        ),
    )
    got = describe(load)
    assert got.waiting == 1
    assert got.arrivals.count == 3
    assert got.prefixes.block == 16
    # b finds 48 + 8 tokens of a: three whole blocks; c the two of the system prompt
    assert got.prefixes.hit_tokens == (48 + 32) / (48 + 80 + 40 + 16)
    assert got.prefixes.requests_with_hit == 2 / 4
    assert got.prefixes.reuse_age_p50_s == 5.0
    assert got.turns is not None
    assert (got.turns.inferred, got.turns.sessions, got.turns.turn.max) == (False, 3, 2)
    assert {name: t.share for name, t in got.tenants.items()} == {"": 0.75, "x": 0.25}


def test_a_later_turn_finds_what_was_generated() -> None:
    load = Workload("w", (request("a", 40), request("b", 60, turn=2, parent=("a",))))
    assert describe(load).prefixes.hit_tokens == 48 / 100  # 40 prompt and 8 output tokens: three blocks


def test_nothing_shared_no_sessions_no_tenants() -> None:
    got = describe(Workload("w", (request("a", 40), request("b", 60))))
    assert (got.prefixes.hit_tokens, got.turns, got.tenants) == (0.0, None, {})
    assert got.arrivals.rate is None


def test_summary_and_distance_by_hand() -> None:
    s = summary([1, 2, 3, 4, 5])
    assert (s.mean, s.std, s.p50, s.p90, s.max) == (3, pytest.approx(2**0.5), 3, 4.6, 5)
    a, b = np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])
    assert ks_distance(a, b) == 0.5
    assert ks_distance(a, a) == 0

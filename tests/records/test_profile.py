"""Profiles: what is written comes back, what is wrong is told, and the cost is the formula."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.fit import predict
from records.cost_terms import CostTerms, Overlap, Power, Term
from records.profile import KVCapacity, Profile, ResidualNoise, read_profile, read_samples, write_profile
from records.profile_cost import ProfileCost
from serving.cost import CostModel, StepFeatures
from serving.errors import ProfileError, RecordError


def terms(*told: tuple[str, float, float | None, float]) -> CostTerms:
    return CostTerms(
        terms=tuple(
            Term(name=f"t{i}", feature=f, low=low, high=high, coefficient_ms=c, meaning="a test")
            for i, (f, low, high, c) in enumerate(told)
        )
    )


PROFILE = Profile(
    name="test",
    model={"name": "15m"},
    hardware={"processor": "none"},
    software={},
    conditions={"threads": 1, "pair": (1, 2)},
    execute=terms(
        ("one", 0, None, 1.5), ("num_tokens", 0, 8, 0.25), ("num_tokens", 8, None, 0.125), ("num_seqs", 0, None, 0.0)
    ),
    schedule=terms(("one", 0, None, 0.1), ("num_seqs", 0, None, 0.01)),
    complete=terms(("one", 0, None, 0.2)),
    return_=terms(),
    residual={"decode": ResidualNoise(steps=9, relative_std=0.1, relative_p50_abs=0.05, relative_p90_abs=0.2)},
    hull={"num_tokens": (1, 64), "num_seqs": (1, 4)},
    kv=KVCapacity(num_blocks=8, block_size=16, bytes_per_token=1024),
)
STEP = StepFeatures(*[1] * len(StepFeatures.names()))


def test_a_profile_comes_back(tmp_path: Path) -> None:
    place = tmp_path / "p.json"
    samples = pd.DataFrame({"execute_ms": [1.0, 2.0], "where": ["a", "b"]}, index=[5, 7])
    written = write_profile(place, PROFILE, samples)
    read = read_profile(place)
    assert read == written
    assert read.sha256() == written.sha256() != PROFILE.sha256()
    assert read.conditions["pair"] == [1, 2]
    assert "return" in json.loads(place.read_text())
    assert read_samples(place, read).equals(samples.reset_index(drop=True))
    write_profile(place, PROFILE)
    with pytest.raises(ProfileError, match="names no sample file"):
        read_samples(place, read_profile(place))
    (tmp_path / "p.samples.parquet").write_bytes(b"")
    with pytest.raises(ProfileError, match="not the samples"):
        read_samples(place, read)
    with pytest.raises(RecordError, match="does not exist"):
        write_profile(tmp_path / "no" / "p.json", PROFILE)


def edited(path: list[str | int], value: object) -> str:
    raw = json.loads(PROFILE.to_json())
    inner = raw
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a profile"),
        (edited(["format"], "servetwin.profile/7"), "its format is 'servetwin.profile/7', this version reads"),
        (edited(["hul"], {}), "hul: unknown key; did you mean hull?"),
        (edited(["kv", "block_sise"], 16), "kv.block_sise: unknown key; did you mean block_size?"),
        (
            edited(["execute", "terms", 1, "coeficient_ms"], 1),
            r"execute.terms\[1\].coeficient_ms: unknown key; did you mean coefficient_ms",
        ),
        (edited(["return", "term"], []), "return.term: unknown key; did you mean terms?"),
        (
            edited(["execute", "terms", 1, "coefficient_ms"], -1),
            r"execute.terms\[1\].coefficient_ms: .*greater than or equal to 0, not -1",
        ),
        (edited(["execute", "terms", 1, "coefficient_ms"], float("nan")), r"coefficient_ms: .*, not nan"),
        (edited(["execute", "terms", 1, "coefficient_ms"], float("inf")), r"coefficient_ms: .*finite"),
        (edited(["execute", "terms", 1, "feature"], "num_token"), "unknown feature; did you mean num_tokens"),
        (edited(["execute", "terms", 1, "high"], 0), r"high \(0\) must be above low \(0\)"),
        (edited(["hull", "num_seqs"], [5, 4]), "hull: num_seqs has its least value 5 above its greatest 4"),
        (edited(["hull", "speed"], [5, 4]), "hull: speed is no feature"),
        (edited(["residual", "idle"], PROFILE.residual["decode"].model_dump()), "residual: idle is no kind of step"),
        (edited(["kv"], None), "kv: .*not None"),
    ],
)
def test_a_wrong_profile_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(tmp_path / "p.json")
    assert str(caught.value).startswith(str(tmp_path / "p.json"))
    assert "\n" not in str(caught.value)


def test_a_missing_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such profile; make one"):
        read_profile(tmp_path / "p.json")
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(tmp_path)


@pytest.mark.parametrize(("tokens", "expected"), [(1, 1_750_000), (8, 3_500_000), (9, 3_625_000), (40, 7_500_000)])
def test_ramps(tokens: int, expected: int) -> None:
    cost: CostModel = ProfileCost(PROFILE)
    assert cost.execute_time(STEP._replace(num_tokens=tokens)) == expected
    assert cost.schedule_time(STEP) == 110_000
    assert (cost.complete_time(STEP), cost.return_time(STEP)) == (200_000, 0)


FEATURE = st.sampled_from(("one", *StepFeatures.names()))
TERM = st.tuples(FEATURE, st.integers(0, 9), st.none() | st.integers(10, 20), st.floats(0, 5))


@given(st.lists(TERM, max_size=6), st.lists(st.integers(0, 30), min_size=8, max_size=8))
def test_the_cost_is_the_formula(told: list, values: list[int]) -> None:
    told = [(f, 0 if f == "one" else low, high, c) for f, low, high, c in told]
    step = StepFeatures(*values)
    cost = ProfileCost(PROFILE.model_copy(update={"execute": terms(*told)}))
    expected = sum(
        c * (np.clip(1 if f == "one" else getattr(step, f), low, np.inf if high is None else high) - low)
        for f, low, high, c in told
    )
    assert abs(cost.execute_time(step) - expected * 1e6) <= 0.51


def test_outside_the_hull() -> None:
    cost = ProfileCost(PROFILE)
    assert cost.outside_hull(STEP) == ()
    assert cost.outside_hull(STEP._replace(num_tokens=65, num_seqs=5, decode_context=9)) == ("num_tokens", "num_seqs")


def overlap(power: Power, *alternatives: CostTerms) -> CostTerms:
    of = Overlap(name="o", of=alternatives, power=power, meaning="a test")
    return CostTerms(terms=terms(("one", 0, None, 0.5)).terms, overlaps=(of,))


@given(st.sampled_from((1, 2, 4, 8, "max")), st.lists(TERM, max_size=4), st.lists(TERM, max_size=4), st.data())
def test_an_overlap_is_the_norm_of_its_alternatives(power: Power, one: list, other: list, data: st.DataObject) -> None:
    """As calibration predicts many steps at once, and as a simulation predicts one, or decodes that follow."""
    one, other = [[(f, 0 if f == "one" else low, high, c) for f, low, high, c in told] for told in (one, other)]
    cost = overlap(power, terms(*one), terms(*other))
    steps = [StepFeatures(*data.draw(st.lists(st.integers(1, 30), min_size=8, max_size=8))) for _ in range(3)]
    model = ProfileCost(PROFILE.model_copy(update={"execute": cost}))
    alternatives = [
        ProfileCost(PROFILE.model_copy(update={"execute": a})).execute_time(steps[0]) / 1e6 for a in cost.overlaps[0].of
    ]
    norm = max(alternatives) if power == "max" else sum(a**power for a in alternatives) ** (1 / power)
    assert model.execute_time(steps[0]) / 1e6 == pytest.approx(0.5 + norm, abs=1e-5, rel=1e-6)
    frame = pd.DataFrame([s._asdict() for s in steps])
    assert predict(cost, frame) == pytest.approx([model.execute_time(s) / 1e6 for s in steps], abs=1e-6, rel=1e-9)
    ahead = model.over_contexts[1](steps[0], 5)
    following = [steps[0]._replace(decode_context=steps[0].decode_context + i * steps[0].num_seqs) for i in range(5)]
    assert ahead == [model.execute_time(s) for s in following]


def test_a_padded_term_counts_the_next_captured_size() -> None:
    padded = CostTerms(terms=(Term(name="t", feature="num_tokens", coefficient_ms=1.0, meaning="a test", padded=True),))
    cost = ProfileCost(PROFILE.model_copy(update={"execute": padded, "graph_sizes": (1, 2, 4, 8)}))
    counts = (1, 2, 3, 4, 5, 8, 9, 40)
    steps = [STEP._replace(num_tokens=n) for n in counts]
    assert [cost.execute_time(s) / 1e6 for s in steps] == [1, 2, 4, 4, 8, 8, 9, 40]
    assert predict(padded, pd.DataFrame([s._asdict() for s in steps]), (1, 2, 4, 8)).tolist() == [
        1,
        2,
        4,
        4,
        8,
        8,
        9,
        40,
    ]


def test_draws_put_other_prices_on_the_same_terms() -> None:
    prices = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    profile = Profile.model_validate({**PROFILE.model_dump(), "draws": (prices,)})
    drawn = profile.drawn(0)
    assert tuple(t.coefficient_ms for d in drawn.durations for t in d.every_term()) == prices
    assert profile.times(2.0).drawn(0).durations == drawn.times(2.0).durations
    with pytest.raises(ValidationError, match="must hold 7 coefficients"):
        Profile.model_validate({**PROFILE.model_dump(), "draws": (prices[1:],)})
    with pytest.raises(ValidationError, match="graph_sizes must ascend"):
        Profile.model_validate({**PROFILE.model_dump(), "graph_sizes": (4, 2)})

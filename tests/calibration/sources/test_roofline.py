"""KIND roofline: the sibling's own GPU gives the sibling's step times back; another one scales by its datasheet."""

from pathlib import Path

import pytest

from calibration.sources.roofline import profile_from
from lab.runs import simulate_run
from records.cost_terms import CostTerms, Overlap
from records.profile import EngineMeasured, Profile, write_profile
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from serving.errors import MeasurementError, ProfileError
from serving.schedule.engine import EngineSpec
from tests.records.test_profile import PROFILE, terms
from workloads.synthesize import synthesize

MODEL = """
name = "{name}"
layers = 32
hidden = 4096
heads = 32
kv_heads = 8
head_dim = 128
intermediate = 14336
vocab = 128256
max_position = 131072
"""
FILE = """
tensor_parallel = {count}
[gpu]
name = "wanted"
tflops = {tflops}
memory_gb_per_s = {speed}
memory_gb = 80
{link}
[model]{model}
[sibling]
profile = "sibling.json"
tflops = 400
memory_gb_per_s = 2000
[sibling.model]{own}
"""


@pytest.fixture
def sibling(tmp_path: Path) -> Profile:
    """On a GPU of 400 TFLOP/s and 2 TB/s: half of the former, four fifths of the latter, 2 ms of overhead."""
    parameters, kv, weights = 6_979_321_856, 131_072, 15e9
    compute = terms(("num_tokens", 0, None, 2 * parameters / 200e12 * 1e3))
    reading = terms(("one", 0, None, weights / 1.6e12 * 1e3), ("decode_context", 0, None, kv / 1.6e12 * 1e3))
    execute = CostTerms(
        terms=terms(("one", 0, None, 2.0), ("num_seqs", 0, None, 0.02), ("prefill_pairs", 0, None, 4e-6)).terms,
        overlaps=(Overlap(name="roof", of=(compute, reading), meaning="at the same time"),),
    )
    update = {
        "execute": execute,
        "draws": ((2.0, 0.02, 4e-6, *(t.coefficient_ms for o in (compute, reading) for t in o.terms), 0.1, 0.01, 0.2),),
        "engine": EngineMeasured(preset="vllm", settings={"max_num_seqs": 64, "num_blocks": 5, "max_model_len": 512}),
        "wake_ms": 0.5,
    }
    profile = Profile.model_validate({**PROFILE.model_dump(by_alias=True), "name": "sibling"}).model_copy(update=update)
    write_profile(tmp_path / "sibling.json", profile)
    return profile


def wanted(folder: Path, count: int = 1, tflops: int = 400, speed: int = 2000, link: str = "") -> Path:
    model, own = MODEL.format(name="wanted"), MODEL.format(name="own")
    path = folder / "wanted.toml"
    path.write_text(FILE.format(count=count, tflops=tflops, speed=speed, model=model, own=own, link=link))
    return path


STEPS = (
    StepFeatures.of_decodes(1, 1000),
    StepFeatures.of_decodes(32, 32 * 1500),
    StepFeatures.of_chunk(4000, 0, 0, 0),
    StepFeatures.of_chunk(2000, 0, 16, 16 * 1000),
)


@pytest.mark.parametrize("step", STEPS)
def test_on_its_own_gpu_the_sibling_comes_back(tmp_path: Path, sibling: Profile, step: StepFeatures) -> None:
    profile = profile_from(wanted(tmp_path), "same", 0).profile
    expected = ProfileCost(sibling).execute_time(step)
    assert ProfileCost(profile).execute_time(step) == pytest.approx(expected, rel=0.02)
    assert ProfileCost(profile).schedule_time(step) == ProfileCost(sibling).schedule_time(step)


def test_twice_the_gpu_takes_half_the_time_but_for_the_host(tmp_path: Path, sibling: Profile) -> None:
    prompt, decodes = StepFeatures.of_chunk(4000, 0, 0, 0), StepFeatures.of_decodes(32, 32 * 1500)
    same = ProfileCost(profile_from(wanted(tmp_path), "same", 0).profile)
    double = ProfileCost(profile_from(wanted(tmp_path, tflops=800, speed=4000), "double", 0).profile)
    host = 2e6 + 0.02e6 * prompt.num_seqs
    assert double.execute_time(prompt) - host == pytest.approx((same.execute_time(prompt) - host) / 2, rel=0.03)
    host = 2e6 + 0.02e6 * 32
    assert double.execute_time(decodes) - host == pytest.approx((same.execute_time(decodes) - host) / 2, rel=0.03)


def test_two_gpus_share_the_work_and_pay_the_link(tmp_path: Path, sibling: Profile) -> None:
    prompt = StepFeatures.of_chunk(4000, 0, 0, 0)
    one = ProfileCost(profile_from(wanted(tmp_path), "one", 0).profile).execute_time(prompt)
    fast = wanted(tmp_path, count=2, link="link_gb_per_s = 450")
    two = ProfileCost(profile_from(fast, "two", 0).profile).execute_time(prompt)
    slow = ProfileCost(profile_from(wanted(tmp_path, count=2, link="link_gb_per_s = 25"), "two", 0).profile)
    assert 0.5 * one < two < 0.7 * one
    assert slow.execute_time(prompt) - two == pytest.approx(4000 * 2 * 32 * 4096 * 2 * (1 / 25 - 1 / 450), rel=0.01)
    with pytest.raises(MeasurementError, match="link_gb_per_s is missing"):
        profile_from(wanted(tmp_path, count=2), "two", 0)


def test_it_says_that_nothing_was_measured_and_every_run_says_so(tmp_path: Path, sibling: Profile) -> None:
    made = profile_from(wanted(tmp_path), "paper", 0)
    profile = made.profile
    assert any("nothing was measured" in note for note in made.notes)
    assert any("estimate from memory" in note for note in made.notes)
    assert profile.hull == {}
    assert (profile.source or {})["sibling"]["name"] == "sibling"
    assert profile.wake_ms == sibling.wake_ms
    assert len(profile.draws) == 1
    load = synthesize(name="load", rate=5.0, num_requests=5, seed=1)
    manifest = simulate_run(tmp_path / "sim", load, profile, EngineSpec()).manifest
    assert any("nothing was measured" in text for text in manifest.unvalidated)


def test_the_pool_and_the_longest_request_are_not_the_siblings(tmp_path: Path, sibling: Profile) -> None:
    profile = profile_from(wanted(tmp_path), "paper", 0).profile
    assert profile.engine is not None
    assert profile.engine.settings == {"max_num_seqs": 64}
    assert profile.kv.num_blocks * 16 * 131072 == pytest.approx(0.9 * 80e9 - 4e9 - 16.06e9, rel=0.001)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("tflops = 400", "tflop = 400", MeasurementError, "gpu.tflops"),
        ("hidden = 4096", "", MeasurementError, "hidden"),
        ('"sibling.json"', '"none-such"', ProfileError, "none-such"),
        ("[gpu]", "[gpu", MeasurementError, "not TOML"),
        ("layers = 32", "layers = 500", MeasurementError, "leave no room for KV"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, sibling: Profile, old: str, new: str, error: type[Exception], message: str
) -> None:
    path = wanted(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(error, match=message):
        profile_from(path, "paper", 0)


def test_a_sibling_without_a_price_for_context_is_refused(tmp_path: Path, sibling: Profile) -> None:
    write_profile(tmp_path / "sibling.json", PROFILE)
    with pytest.raises(MeasurementError, match="no price for"):
        profile_from(wanted(tmp_path), "paper", 0)

"""How parts are written, and what is said of a part that cannot be made."""

from dataclasses import dataclass, field

import pytest

from serving.errors import ConfigError, RequestError
from serving.schedule.counting import CountingScheduler
from serving.schedule.engine import EngineSpec, build, build_scheduler
from serving.schedule.policies.base import Policy
from serving.schedule.presets import PRESETS
from serving.schedule.spec import make, split
from serving.state.eviction.fifo import Fifo
from serving.state.reservation.base import Reservation
from sim.check_policy import COST
from tests.serving.drive import request


@dataclass
class Levels(Policy):
    levels: int = 5
    share: float = 0.5
    name: str = "x"
    weights: dict[str, float] = field(default_factory=dict)


@dataclass
class Rate(Policy):
    rate: float


KNOWN = {"levels": Levels, "rate": Rate, "plain": Policy}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("levels", ("levels", {})),
        (" levels ( ) ", ("levels", {})),
        ("levels(levels=3, share=1e-3)", ("levels", {"levels": 3, "share": 1e-3})),
        ("a/my_policy.py:Mine(weights={'a': 2})", ("a/my_policy.py:Mine", {"weights": {"a": 2}})),
    ],
)
def test_a_part_is_a_name_and_options(text, expected) -> None:
    assert split(text) == expected


def test_options_become_fields() -> None:
    made = make("policy", "levels(levels=3, share=1, weights={'a': 2.0})", KNOWN)
    assert made == Levels(3, 1, "x", {"a": 2.0})
    assert make("policy", "rate(rate=2.5)", KNOWN) == Rate(2.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("level", "unknown policy 'level'; did you mean levels"),
        ("levels(level=3)", "levels has no option 'level'; it has: levels, share, name, weights"),
        ("plain(a=3)", "plain has no option 'a'; it has none"),
        ("levels(levels=2.5)", "levels: levels is 2.5; it must be of type int, as 5"),
        ("levels(levels=True)", "levels: levels is True; it must be of type int, as 5"),
        ("levels(share='a')", "levels: share is 'a'; it must be of type float, as 0.5"),
        ("levels(weights=[1])", r"levels: weights is \[1\]; it must be of type dict"),
        ("levels(3)", "options are written as name=value"),
        ("levels(**{'levels': 3})", "options are written as name=value"),
        ("levels(levels=3", "cannot be read"),
        ("levels(levels=__import__('os'))", "cannot be read"),
        ("levels(levels=3) or 1", "cannot be read"),
        ("rate", r"rate needs rate: write rate\(rate=...\)"),
    ],
)
def test_what_cannot_be_made_is_told(text, words) -> None:
    with pytest.raises(ConfigError, match=words):
        make("policy", text, KNOWN)


def test_a_spec_names_every_part() -> None:
    """Each is the one that decides: seen by what it does."""
    stated = {"prompt": 3, "max_tokens": 2}
    engine = build(
        EngineSpec("vllm", "rate(rate=2.0)", "max-length", "lfu", "queue-cap(max_waiting=1)"), load={"rate": Rate}.get
    )
    engine.add(request("a", **stated), 0)
    with pytest.raises(RequestError, match="1 requests wait already"):
        engine.add(request("b", **stated), 0)
    tight = {"num_blocks": 2, "block_size": 4}
    with pytest.raises(RequestError, match="the pool has 2"):
        build(EngineSpec(settings=tight)).add(request("a", 9, 1), 0)
    with pytest.raises(RequestError, match="the pool has 2"):
        build(EngineSpec(settings=tight), tokens_of=lambda *_: []).add(request("a", 9, 1), 0)
    build(EngineSpec(settings=tight), refuses_impossible=False).add(request("a", 9, 1), 0)


def test_a_world_that_knows_the_tokens_gets_decodes_counted() -> None:
    assert isinstance(build(EngineSpec(), tokens_of=lambda *_: []), CountingScheduler)
    assert not isinstance(build(EngineSpec()), CountingScheduler)


def test_whoever_predicts_needs_a_cost_model() -> None:
    for spec in (EngineSpec(policy="slack"), EngineSpec(admission="predicted-ttft")):
        build(spec, cost=COST)
        with pytest.raises(ConfigError, match="predicts step times: give a profile"):
            build(spec)


def test_parts_come_from_names_or_from_whoever_loads_them() -> None:
    loaded = {"mine.py:Levels": Levels, "mine.py:Fifo": Fifo, "mine.py:Reservation": Reservation}.get
    scheduler = build(EngineSpec(policy="mine.py:Levels(levels=2)", eviction="mine.py:Fifo"), load=loaded)
    assert scheduler.config.num_blocks == 4096
    with pytest.raises(ConfigError, match=r"mine\.py:Fifo is no Policy; let the class inherit from it"):
        build(EngineSpec(policy="mine.py:Fifo"), load=loaded)
    with pytest.raises(ConfigError, match=r"mine\.py:Levels has no option 'depth'"):
        build(EngineSpec(policy="mine.py:Levels(depth=2)"), load=loaded)
    with pytest.raises(ConfigError, match=r"mine\.py:Levels is no Reservation"):
        build(EngineSpec(reservation="mine.py:Levels"), load=loaded)
    with pytest.raises(ConfigError, match=r"mine\.py:Levels is no AdmissionControl"):
        build(EngineSpec(admission="mine.py:Levels"), load=loaded)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (EngineSpec("vlm"), "unknown preset 'vlm'; did you mean vllm"),
        (EngineSpec(policy="fcf"), "unknown policy 'fcf'; did you mean fcfs"),
        (EngineSpec(policy="sjf(by='promt')"), "unknown job length 'promt'; did you mean prompt"),
        (EngineSpec(eviction="lruu"), "unknown eviction 'lruu'; did you mean lru"),
        (EngineSpec(reservation="on demand"), "unknown reservation 'on demand'; did you mean on-demand"),
        (EngineSpec(admission="cap"), "unknown admission 'cap'"),
        (EngineSpec(settings={"num_block": 3}), "did you mean num_blocks"),
        (EngineSpec("nano-vllm", settings={"watermark": 0.1}), "watermark has no effect under preset nano-vllm"),
        (
            EngineSpec(eviction="fifo", settings={"enable_prefix_caching": False}),
            "^an eviction order has no effect without prefix caching; leave it out$",
        ),
        (EngineSpec(reservation="on-demand", settings={"watermark": 0.1}), "watermark has no effect beside another"),
        (EngineSpec(settings={"preemption": "swap"}), "^preemption by swap needs host memory: give num_host_blocks$"),
        (EngineSpec(settings={"preemption": "swop"}), "unknown preemption 'swop'; did you mean swap"),
        (EngineSpec(settings={"watermark": 1.0}), "watermark is 1.0; it is a share of the pool"),
        (
            EngineSpec(settings={"enable_chunked_prefill": False, "max_num_batched_tokens": 99, "max_model_len": 100}),
            r"without chunked prefill a step must hold a whole prompt: max_num_batched_tokens \(99\) is below",
        ),
        (
            EngineSpec(settings={"num_host_blocks": 3, "enable_prefix_caching": False}),
            "^num_host_blocks has no effect: nothing is swapped, and no prefix is cached$",
        ),
        (EngineSpec(settings={"num_host_blocks": -1}), "num_host_blocks is -1"),
    ],
)
def test_an_engine_that_cannot_be_is_told(spec, words) -> None:
    with pytest.raises(ConfigError, match=words):
        build(spec)


def test_every_preset_can_be_built_with_its_defaults() -> None:
    for preset in PRESETS:
        build_scheduler(preset).check()

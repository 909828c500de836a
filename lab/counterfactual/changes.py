"""What can be changed in a run that is simulated again: each change is one knob.

name: as `servetwin whatif --set` spells it (knobs.py reads it back). told: in words, for a sentence "with ...".
"""

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Literal, Protocol

from lab.counterfactual.requests import check_factor, evenly_apart, faster, most_tokens, resized
from lab.counterfactual.setup import AS_CALIBRATED, Setup
from records.profile import Profile
from serving.errors import ConfigError
from serving.names import known
from serving.schedule.config import EngineConfig
from serving.schedule.engine import ADMITS_BY, EngineSpec
from serving.schedule.presets import PRESETS
from workloads.retime import at_rate

DEFAULTS = {f.name: f.default for f in fields(EngineConfig)}
"""Of EngineConfig."""


class Change(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def told(self) -> str: ...

    def apply(self, to: Setup) -> Setup:
        """Errors: ConfigError, WorkloadError where this run cannot be changed so."""


def known_request(setup: Setup, request_id: str) -> str:
    """The id itself. Errors: ConfigError that names the nearest."""
    ids = [request.request_id for request in setup.workload.requests]
    if request_id in ids:
        return request_id
    near = get_close_matches(request_id, ids, n=1)
    raise ConfigError(f"no request {request_id!r} in workload {setup.workload.name}; did you mean {(near or ids)[0]}?")


def dashed(name: str) -> str:
    return name.replace("_", "-")


@dataclass(frozen=True)
class Setting:
    """A field of EngineConfig takes this value. block_size: the pool keeps its bytes, to a block."""

    setting: str
    value: object

    @property
    def name(self) -> str:
        return f"{dashed(self.setting)}={_value(self.value)}"

    @property
    def told(self) -> str:
        return f"{self.setting} {_value(self.value)}"

    def apply(self, to: Setup) -> Setup:
        old = _setting(to, known("setting", self.setting, DEFAULTS))
        if self.setting == "block_size":
            new = _whole(self.value)
            if new < 1:
                raise ConfigError(f"block-size is {new}; it must be at least 1 token")
            num_blocks = _whole(_setting(to, "num_blocks")) * _whole(old) // new
            return _with(to, block_size=new, num_blocks=max(1, num_blocks))
        changed = _with(to, **{self.setting: self.value})
        if self.setting == "enable_prefix_caching" and not self.value:
            return replace(changed, engine=replace(changed.engine, eviction=""))
        return changed


@dataclass(frozen=True)
class SettingTimes:
    """A number of EngineConfig, times a factor; a whole one to the nearest, from 1, and 0 stays 0."""

    setting: str
    factor: float

    @property
    def name(self) -> str:
        return f"{dashed(self.setting)}=x{self.factor:.15g}"

    @property
    def told(self) -> str:
        return f"{self.setting} times {self.factor:g}"

    def apply(self, to: Setup) -> Setup:
        check_factor(dashed(self.setting), self.factor)
        old = _setting(to, known("setting", self.setting, DEFAULTS))
        if isinstance(old, bool) or not isinstance(old, int | float):
            raise ConfigError(f"{dashed(self.setting)} is {_value(old)}, which cannot be multiplied; give a value")
        if isinstance(old, float):
            return Setting(self.setting, old * self.factor).apply(to)
        return Setting(self.setting, max(1, round(old * self.factor)) if old else 0).apply(to)


@dataclass(frozen=True)
class Unlimited:
    """So much of it that no request of the workload ever waits for it: seats, KV blocks, or the token budget."""

    setting: Literal["max_num_seqs", "num_blocks", "max_num_batched_tokens"]

    @property
    def name(self) -> str:
        return f"{dashed(self.setting)}=unlimited"

    @property
    def told(self) -> str:
        return f"{self.setting} without a limit"

    def apply(self, to: Setup) -> Setup:
        old, num_requests = _whole(_setting(to, self.setting)), len(to.workload.requests)
        enough = num_requests
        if self.setting == "num_blocks":  # each may have a partly filled block, and one that it is about to fill
            enough = most_tokens(to.workload) // _whole(_setting(to, "block_size")) + 2 * num_requests
        elif self.setting == "max_num_batched_tokens":
            enough = most_tokens(to.workload)
        return _with(to, **{self.setting: max(old, enough)})


@dataclass(frozen=True)
class Part:
    """Another preset, policy, reservation, eviction, admission control or predictor, as simulate takes it.

    A preset brings its own rules: settings that were the old one's own, or that the new one has its own of, are left
    out. "none": no such part; as a reservation: a request needs, and takes, blocks for the tokens it computes alone.
    """

    part: Literal["preset", "policy", "reservation", "eviction", "admission", "predictor"]
    text: str

    @property
    def name(self) -> str:
        return f"{self.part}={self.text}"

    @property
    def told(self) -> str:
        return f"{self.part} {self.text}"

    def apply(self, to: Setup) -> Setup:
        engine, text = to.engine, "" if self.text == "none" else self.text
        match self.part:
            case "preset":
                return replace(to, engine=_under(engine, known("preset", self.text, PRESETS)))
            case "policy":
                return replace(to, engine=replace(engine, policy=self.text))
            case "reservation":
                kept = {name: value for name, value in engine.settings.items() if name not in ADMITS_BY}
                return replace(to, engine=replace(engine, reservation=text or "on-demand", settings=kept))
            case "eviction":
                return replace(to, engine=replace(engine, eviction=text))
            case "admission":
                return replace(to, engine=replace(engine, admission=text))
            case "predictor":
                return replace(to, predictor=text)


NO_RESERVATION = Part("reservation", "none")
"""Admission without the preset's reservation."""


@dataclass(frozen=True)
class PrefixCache:
    """on, off, endless: what a cache that is on has stored is never evicted, while requests are admitted as before; or
    perfect: it is never late either, so what an earlier prompt began with is stored when a request arrives. No size and
    no order of eviction can do better.
    """

    state: Literal["on", "off", "endless", "perfect"]

    @property
    def name(self) -> str:
        return f"prefix-cache={self.state}"

    @property
    def told(self) -> str:
        return f"prefix cache {self.state}"

    def apply(self, to: Setup) -> Setup:
        if self.state == "perfect":
            return replace(to, stored_prefixes="perfect")
        if self.state == "endless":
            if not _setting(to, "enable_prefix_caching"):
                raise ConfigError("prefix-cache=endless: this engine's prefix cache is off; set prefix-cache=on first")
            return replace(to, stored_prefixes="endless")
        return Setting("enable_prefix_caching", self.state == "on").apply(replace(to, stored_prefixes=""))


Duration = Literal["steps", "decode", "prefill", "schedule", "return", "complete", "wake"]
DURATIONS: dict[Duration, tuple[tuple[str, ...], str]] = {
    "steps": (("decode", "prefill"), "the execution of every step"),
    "decode": (("decode",), "what decodes take in a step"),
    "prefill": (("prefill",), "what prompts take in a step"),
    "schedule": (("schedule",), "scheduling and preparing a step"),
    "return": (("return_",), "the way of tokens back to the client"),
    "complete": (("complete",), "completing a step"),
    "wake": (("wake",), "waking up an idle engine"),
}
"""Fields of Durations, and words, by the knob's name."""


@dataclass(frozen=True)
class Times:
    """A part of the engine's time takes so many times as long (durations.py)."""

    duration: Duration
    factor: float

    @property
    def name(self) -> str:
        return f"{self.duration}=0" if self.factor == 0 else f"{self.duration}=x{self.factor:.15g}"

    @property
    def told(self) -> str:
        return f"{DURATIONS[self.duration][1]} times {self.factor:g}"

    def apply(self, to: Setup) -> Setup:
        return replace(to, durations=to.durations.times(DURATIONS[self.duration][0], self.factor))


@dataclass(frozen=True)
class Link:
    """The link between device and host memory: in GB/s, or times what it is."""

    gb_per_s: float | None = None
    factor: float | None = None

    @property
    def name(self) -> str:
        return f"link={self.gb_per_s:.15g}" if self.factor is None else f"link=x{self.factor:.15g}"

    @property
    def told(self) -> str:
        return f"a host link of {self.gb_per_s:g} GB/s" if self.factor is None else f"a host link times {self.factor:g}"

    def apply(self, to: Setup) -> Setup:
        if not to.engine.settings.get("num_host_blocks"):
            raise ConfigError("link has no effect: the engine of this run has no host memory (num-host-blocks)")
        if self.factor is None:
            check_factor("link", self.gb_per_s or 0.0)
            return replace(to, host_link=(self.gb_per_s or 0.0) * 1e9)
        check_factor("link", self.factor)
        if to.host_link is None:
            raise ConfigError("the profile does not say how fast the host link is: give link=GB/S in place of a factor")
        return replace(to, host_link=to.host_link * self.factor)


@dataclass(frozen=True)
class Gpu:
    """Another profile: other hardware, and whatever else it was measured with, at its own speed.

    KV: the same share of the new profile's pool, in tokens. given: what stands behind gpu=, where that is a file.
    """

    profile: Profile
    given: str = ""

    @property
    def name(self) -> str:
        return f"gpu={self.given or self.profile.name}"

    @property
    def told(self) -> str:
        return f"profile {self.profile.name}"

    def apply(self, to: Setup) -> Setup:
        if self.profile == to.profile:
            return to
        old, new = to.profile.kv, self.profile.kv
        block_size = _whole(_setting(to, "block_size"))
        tokens = _whole(_setting(to, "num_blocks")) * block_size * new.num_blocks * new.block_size
        num_blocks = tokens // (old.num_blocks * old.block_size * block_size)
        longest = min(_whole(_setting(to, "max_model_len")), int(self.profile.model.get("max_position", 2**31)))
        changed = _with(to, num_blocks=max(1, num_blocks), max_model_len=longest)
        return replace(changed, profile=self.profile, speed=AS_CALIBRATED, host_link=new.host_link_bytes_per_s)


@dataclass(frozen=True)
class Rate:
    """So many times as many arrivals a second, or so many a second in the mean; think times stay."""

    factor: float | None = None
    per_s: float | None = None

    @property
    def name(self) -> str:
        return f"rate={self.per_s:.15g}" if self.factor is None else f"rate=x{self.factor:.15g}"

    @property
    def told(self) -> str:
        return f"{self.per_s:g} requests/s" if self.factor is None else f"arrivals at {self.factor:g} times the rate"

    def apply(self, to: Setup) -> Setup:
        if self.factor is None:
            return replace(to, workload=at_rate(to.workload, self.per_s or 0.0))
        check_factor("rate", self.factor)
        return replace(to, workload=faster(to.workload, self.factor))


@dataclass(frozen=True)
class EvenArrivals:
    """Arrivals of the same number of requests in the same time, all equally far apart; think times stay."""

    name: str = "arrivals=even"
    told: str = "arrivals equally far apart"

    def apply(self, to: Setup) -> Setup:
        return replace(to, workload=evenly_apart(to.workload))


@dataclass(frozen=True)
class Lengths:
    """Prompts, or outputs and the most that clients accept, so many times as long."""

    what: Literal["prompt", "output"]
    factor: float

    @property
    def name(self) -> str:
        return f"{self.what}=x{self.factor:.15g}"

    @property
    def told(self) -> str:
        return f"{self.what}s {self.factor:g} times as long"

    def apply(self, to: Setup) -> Setup:
        check_factor(self.what, self.factor)
        sizes = {"prompt": 1.0, "output": 1.0, self.what: self.factor}
        return replace(to, workload=resized(to.workload, **sizes))


@dataclass(frozen=True)
class MaxInFlight:
    """The most requests that clients have sent and that have not ended; None: no limit."""

    most: int | None

    @property
    def name(self) -> str:
        return f"max-in-flight={'unlimited' if self.most is None else self.most}"

    @property
    def told(self) -> str:
        return "clients that never hold back" if self.most is None else f"at most {self.most} requests in flight"

    def apply(self, to: Setup) -> Setup:
        return replace(to, max_in_flight=self.most)


@dataclass(frozen=True)
class InFront:
    """A request is tried before all others whenever it waits; of several, the one named first."""

    request_id: str

    @property
    def name(self) -> str:
        return f"in-front={self.request_id}"

    @property
    def told(self) -> str:
        return f"request {self.request_id} first in line"

    def apply(self, to: Setup) -> Setup:
        known_request(to, self.request_id)
        return replace(to, in_front=tuple(dict.fromkeys((*to.in_front, self.request_id))))


def _value(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


def _with(setup: Setup, **settings: object) -> Setup:
    return replace(setup, engine=replace(setup.engine, settings={**setup.engine.settings, **settings}))


def _setting(setup: Setup, name: str) -> object:
    preset = PRESETS[setup.engine.preset]
    if name in preset.without_effect:
        raise ConfigError(f"{dashed(name)} has no effect under preset {setup.engine.preset}; leave it out")
    return setup.engine.settings.get(name, preset.settings.get(name, DEFAULTS[name]))


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise ConfigError(f"{value!r} is no whole number")
    return value


def _under(engine: EngineSpec, preset: str) -> EngineSpec:
    if preset == engine.preset:
        return engine
    old, new = PRESETS[engine.preset], PRESETS[preset]
    left = {*new.without_effect, *new.settings}
    left |= {name for name, value in old.settings.items() if engine.settings.get(name) == value}
    left |= set() if old.has_budget else {"max_num_batched_tokens"}
    kept = {name: value for name, value in engine.settings.items() if name not in left}
    caches = kept.get("enable_prefix_caching", new.settings.get("enable_prefix_caching", True))
    return replace(engine, preset=preset, settings=kept, eviction=engine.eviction if caches else "")

"""A change as a person writes it behind --set: KNOB=VALUE. What a change calls itself reads back as that change."""

from pathlib import Path
from typing import get_args

from calibration.shipped import find_profile
from lab.counterfactual.changes import (
    DEFAULTS,
    DURATIONS,
    Change,
    EvenArrivals,
    Gpu,
    InFront,
    Lengths,
    Link,
    MaxInFlight,
    Part,
    PrefixCache,
    Rate,
    Setting,
    SettingTimes,
    Times,
    Unlimited,
    dashed,
)
from serving.errors import ConfigError
from serving.names import hint

PARTS = ("preset", "policy", "reservation", "eviction", "admission", "predictor")
OTHERS = ("prefix-cache", "gpu", "link", "rate", "arrivals", "prompt", "output", "max-in-flight", "in-front")
KNOBS = (*PARTS, *map(dashed, DEFAULTS), *DURATIONS, *OTHERS)
"""All that can stand before the =."""
_UNLIMITED = get_args(Unlimited.__annotations__["setting"])
_STATES = {"on": True, "true": True, "off": False, "false": False}


def read_knob(text: str) -> Change:
    """Errors: ConfigError that names the nearest knob, or how its value is written; ProfileError for gpu."""
    knob, equals, value = text.partition("=")
    knob, value = knob.strip().removeprefix("--"), value.strip()
    if not equals or not value:
        raise ConfigError(f"{text!r} cannot be read; write KNOB=VALUE, as num-blocks=x0.7 or policy=sjf")
    if knob in PARTS:
        return Part(knob, value)  # type: ignore[arg-type]
    if (setting := knob.replace("-", "_")) in DEFAULTS:
        return _setting(setting, value, text)
    if knob in DURATIONS:
        return Times(knob, 0.0 if value == "0" else _factor(value, text))
    if knob not in OTHERS:
        raise ConfigError(f"unknown knob {knob!r}; {hint(knob, KNOBS)}")
    return _other(knob, value, text)


def _other(knob: str, value: str, text: str) -> Change:
    match knob:
        case "prefix-cache":
            if value not in ("on", "off", "endless", "perfect"):
                raise ConfigError(f"{text!r}: the prefix cache is on, off, endless or perfect")
            return PrefixCache(value)  # type: ignore[arg-type]
        case "gpu":
            profile = find_profile(Path(value))
            return Gpu(profile, "" if value == profile.name else value)
        case "link":
            return Link(factor=_factor(value, text)) if value[0] == "x" else Link(gb_per_s=_number(value, text))
        case "rate":
            return Rate(factor=_factor(value, text)) if value[0] == "x" else Rate(per_s=_number(value, text))
        case "arrivals":
            if value != "even":
                raise ConfigError(f"{text!r}: arrivals can be made even; a rate is changed by rate=x2")
            return EvenArrivals()
        case "prompt" | "output":
            return Lengths(knob, _factor(value, text))
        case "max-in-flight":
            return MaxInFlight(None if value == "unlimited" else _whole(value, text))
        case _:
            return InFront(value)


def _setting(setting: str, value: str, text: str) -> Change:
    default = DEFAULTS[setting]
    if value == "unlimited":
        if setting not in _UNLIMITED:
            raise ConfigError(f"{text!r}: only {', '.join(map(dashed, _UNLIMITED))} can be unlimited; give a value")
        return Unlimited(setting)  # type: ignore[arg-type]
    if isinstance(default, bool):
        if value not in _STATES:
            raise ConfigError(f"{text!r}: {dashed(setting)} is on or off")
        return Setting(setting, _STATES[value])
    if isinstance(default, str):
        return Setting(setting, value)
    if value[0] == "x":
        return SettingTimes(setting, _factor(value, text))
    return Setting(setting, _number(value, text) if isinstance(default, float) else _whole(value, text))


def _factor(value: str, text: str) -> float:
    if value[0] != "x":
        raise ConfigError(f"{text!r}: write a factor, as x0.5 or x2")
    return _number(value[1:], text)


def _number(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise ConfigError(f"{text!r}: {value!r} is no number")
    return number


def _whole(value: str, text: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"{text!r}: {value!r} is no whole number; a factor is written x2") from None

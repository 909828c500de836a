"""Settings that a simulation takes from its profile: what the engine ran with while it was measured."""

from dataclasses import replace
from typing import TYPE_CHECKING

from serving.names import known
from serving.schedule.engine import ADMITS_BY, EngineSpec
from serving.schedule.presets import PRESETS

if TYPE_CHECKING:
    from records.profile import EngineMeasured, Profile

DEFAULT_PRESET = "vllm"


def as_measured(given: EngineSpec, measured: "EngineMeasured | None") -> EngineSpec:
    """What was given, and what was not as it was measured. A preset of "" was not given.

    Under another preset than the measured one, its own rules come before measured settings. Settings that would have
    no effect are left out. Errors: ConfigError for an unknown preset.
    """
    if measured is None:
        return replace(given, preset=given.preset or DEFAULT_PRESET)
    preset = known("preset", given.preset or measured.preset, PRESETS)
    chosen = PRESETS[preset]
    left = {*chosen.without_effect, *(ADMITS_BY if given.reservation else ())}
    if preset != measured.preset:
        left |= set(chosen.settings)
    taken = {name: value for name, value in measured.settings.items() if name not in left}
    return replace(given, preset=preset, settings={**taken, **given.settings})


def told(given: EngineSpec, spec: EngineSpec, profile: "Profile") -> str | None:
    """In a line, what of spec was not given but comes from the profile; None: nothing."""
    measured = profile.engine
    if measured is None:
        return None
    parts = [] if given.preset or spec.preset != measured.preset else [f"preset {spec.preset}"]
    for name, value in spec.settings.items():
        if name not in given.settings and measured.settings.get(name) == value:
            parts.append(f"{name} {_value(value)}")
    return f"engine as {profile.name} was measured: {', '.join(parts)}" if parts else None


def _value(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"

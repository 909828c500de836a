"""A profile in a few lines, for lists: of what it is, and how far it predicts what was measured."""

from collections.abc import Iterator, Mapping

from records.profile import Profile

ERRORS = ("errors", "error", "check", "checks")
"""Where the source of a profile says how far it is off."""


def profile_lines(profile: Profile) -> Iterator[str]:
    hardware = _first(profile.hardware, "gpu", "device", "name", "cpu", "cpu_model")
    count = profile.hardware.get("count", 1)
    engine = profile.engine
    software = ", ".join(f"{name} {version}" for name, version in profile.software.items() if isinstance(version, str))
    parts = [
        f"{count} x {hardware}" if isinstance(count, int) and count > 1 else hardware,
        _first(profile.model, "name", "shape"),
        software,
        "" if engine is None else f"preset {engine.preset}",
        f"KV of {profile.kv.num_blocks * profile.kv.block_size:,} tokens",
    ]
    yield ", ".join(part for part in parts if part)
    source = profile.source or {}
    told = {name: value for name, value in source.items() if name not in ERRORS}
    if told:
        yield f"source: {_words(told)}"
    for name in ERRORS:
        if name in source:
            yield f"{name}: {_words(source[name])}"


def _first(facts: Mapping[str, object], *names: str) -> str:
    return next((str(facts[name]) for name in names if facts.get(name)), "")


def _words(value: object) -> str:
    """Of a value of JSON, without its punctuation; shares in percent where they are called an error."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name.replace('_', ' ')} {_words(v)}" for name, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)

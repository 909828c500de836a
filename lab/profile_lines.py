"""A profile in a few lines, for lists: of what it is, and how far it predicts what was measured."""

from collections.abc import Iterator, Mapping

from records.profile import Profile

SAID = ("measured_by", "licence", "unvalidated")
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
    told = [f"{name.replace('_', ' ')} {source[name]}" for name in SAID if source.get(name)]
    if told:
        yield f"source: {', '.join(told)}"
    for name in ERRORS:
        for what, figures in _tables(source.get(name), name):
            yield f"off by, {what}: {figures}"


def _first(facts: Mapping[str, object], *names: str) -> str:
    return next((str(facts[name]) for name in names if facts.get(name)), "")


def _tables(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Name and figures of each table with shares in it, the deepest left out; whole numbers are counts."""
    if not isinstance(value, Mapping):
        return
    shares = [f"{key.replace('_', ' ')} {share:.1%}" for key, share in value.items() if isinstance(share, float)]
    if shares:
        yield name.replace("_", " "), ", ".join(shares)
        return
    for key, inner in value.items():
        yield from _tables(inner, key)

"""Names a user typed, against those that are known."""

from collections.abc import Iterable
from difflib import get_close_matches

from serving.errors import ConfigError


def hint(name: str, choices: Iterable[str]) -> str:
    """What to try instead of an unknown name."""
    names = sorted(choices)
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"


def known(kind: str, name: str, choices: Iterable[str]) -> str:
    """The name itself. Errors: ConfigError that names the nearest choice."""
    names = list(choices)
    if name not in names:
        raise ConfigError(f"unknown {kind} {name!r}; {hint(name, names)}")
    return name

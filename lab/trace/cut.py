"""Which part of a run a trace shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError

ALL = 2**62
"""An instant after every run, in nanoseconds."""
MOST_TOKENS = 200_000
"""Up to which intervals between tokens are shown without being asked for: about as many slices as a browser likes."""


@dataclass(frozen=True)
class Cut:
    """requests: ids; none: all. begin, end: seconds since the start of the run; end None: to its end.

    A request or step is shown whole where any of it is in [begin, end]. Where requests are named, and no times, steps
    are shown from the first one's arrival to the last one's end.
    tokens: a slice for each interval between two tokens; None: where at most MOST_TOKENS are shown.
    Errors: ConfigError for times that leave nothing.
    """

    requests: Sequence[str] = ()
    begin: float | None = None
    end: float | None = None
    tokens: bool | None = None

    def __post_init__(self) -> None:
        if self.begin is not None and not 0 <= self.begin < ALL / 1e9:
            raise ConfigError(f"--from is {self.begin:g}; it must be a time of the run in seconds, 0 or above")
        if self.end is not None and not (self.begin or 0) < self.end < ALL / 1e9:
            raise ConfigError(f"--to is {self.end:g}; it must be above --from ({self.begin or 0:g} s)")
        if len(set(self.requests)) != len(self.requests):
            twice = next(r for r in self.requests if list(self.requests).count(r) > 1)
            raise ConfigError(f"--requests names {twice!r} twice")

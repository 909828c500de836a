"""What every kind of foreign measurement becomes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from records.profile import Profile


@dataclass(frozen=True)
class Sourced:
    """samples: what the profile was fitted to, a row each. notes: what a user should know of this fit, in sentences."""

    profile: Profile
    samples: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """name: of the profile to make. Errors: MeasurementError that says what is missing, where, and what to do."""

    def __call__(self, path: Path, name: str, seed: int) -> Sourced: ...

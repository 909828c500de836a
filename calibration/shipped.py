"""Profiles that come with the project, by name: coefficients fitted to public measurements, each with its source."""

from collections.abc import Iterator
from pathlib import Path

from records.profile import Profile, read_profile
from serving.errors import ProfileError
from serving.names import hint

FOLDER = Path(__file__).parent / "profiles"


def names() -> list[str]:
    """In alphabetical order."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def every() -> Iterator[Profile]:
    """In the order of their names."""
    for name in names():
        yield read_profile(FOLDER / f"{name}.json")


def find_profile(given: Path, folder: Path = Path()) -> Profile:
    """A file, from the folder on, or the name of a shipped profile; where both are there, the file.

    Errors: ProfileError for what is neither, with the nearest name, or for a file that is no profile.
    """
    return read_profile(profile_path(given, folder))


def profile_path(given: Path, folder: Path = Path()) -> Path:
    """Where the profile is that find_profile reads. Errors: ProfileError for a bare name that nothing has."""
    file = folder / given
    if file.exists() or len(given.parts) != 1 or given.suffix == ".json":
        return file
    own = FOLDER / f"{given}.json"
    if own.exists():
        return own
    raise ProfileError(
        f"profile {str(given)!r}: no such file, and none of that name comes with servetwin; {hint(str(given), names())}"
    )

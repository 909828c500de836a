"""A line of a public trace, as its reader hands it over."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """where: file:line. time: integer nanoseconds since some zero. Lengths in tokens; zero is possible here."""

    where: str
    time: int
    prompt_len: int
    output_len: int
    hash_ids: tuple[int, ...] | None = None
    hash_block: int = 512

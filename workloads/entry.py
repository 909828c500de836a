"""What the reader of a public trace hands over: requests, in sessions."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """A request of a public trace.

    where: file:line. time: integer nanoseconds since some zero; of the first of a session. Lengths in tokens; zero is
    possible here. think_time: nanoseconds between the end of the entry before, in the session, and sending this one.
    repeats: its prompt begins with prompt and output of the entry before. labels: what the trace says besides, as
    (column, value), to choose requests by.
    """

    where: str
    time: int
    prompt_len: int
    output_len: int
    hash_ids: tuple[int, ...] | None = None
    hash_block: int = 512
    session_id: str = ""
    think_time: int = 0
    repeats: bool = False
    labels: tuple[tuple[str, str], ...] = ()


Session = Sequence[Entry]
"""One entry or more; each but the first is sent after the one before it has ended."""

Tokenize = Callable[[str], Sequence[int]]
"""Text to token ids, without special tokens."""


@dataclass(frozen=True)
class Reading:
    """A trace being read.

    timed: whether it says when requests are sent. sessions_wait: whether sessions may have more than one request.
    left_out: what the reader met and cannot be a request, in words, and how many; complete once sessions are read.
    """

    sessions: Iterator[Session]
    timed: bool = True
    sessions_wait: bool = False
    left_out: Counter[str] = field(default_factory=Counter)

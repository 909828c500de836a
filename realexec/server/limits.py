"""How much of everything the server takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds and counts.

    body_bytes, header_bytes: of one request. header_s, body_s: first byte to last, or from the connection's opening.
    keep_alive_s: a connection without a request. stalled_s: a client that takes nothing of what is sent.
    connections: open at once. requests: being answered at once, waiting ones included.
    offload_bytes: bodies above this are parsed and tokenized beside the event loop.
    drain_s: after a signal, for what runs. retry_after_s: what a client that is turned away is told.
    """

    body_bytes: int = 4 << 20
    header_bytes: int = 64 << 10
    header_s: float = 10.0
    body_s: float = 10.0
    keep_alive_s: int = 60
    stalled_s: float = 30.0
    connections: int = 2048
    requests: int = 1024
    offload_bytes: int = 16 << 10
    drain_s: float = 10.0
    retry_after_s: int = 1


MOST_STOPS = 4
MOST_STOP_CHARACTERS = 64
MOST_STOP_TOKEN_IDS = 64
MOST_ID_CHARACTERS = 128
"""Of a request id: printable ASCII."""
MOST_MESSAGES = 4096
MOST_PARTS = 1024
"""Of one message."""

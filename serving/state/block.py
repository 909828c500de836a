"""One KV block of the pool."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Block:
    """Only the pool changes it; an eviction policy reads it.

    references: block tables that hold it.
    content: the chained hash of its tokens and all before them (hashing.py), while it can be hit; None: nothing there.
    parent: the content of the block before it; None at the start of a prompt.
    depth: blocks before it in its prompt.
    published: how many contents were published in the pool before this one.
    num_hits: times it was hit since its content came.
    session_id: of the request that last held it.
    written: False while its content is published though no step computed it (schedule/draft.py, preempt).
    """

    block_id: int
    references: int = 0
    content: bytes | None = None
    parent: bytes | None = None
    depth: int = 0
    published: int = 0
    num_hits: int = 0
    session_id: str = ""
    written: bool = True

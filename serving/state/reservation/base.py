"""What a reservation rule decides."""

from serving.component import Component
from serving.view import RequestView


class Reservation(Component):
    """On demand, unless overridden: a request takes blocks for the tokens it computes, and needs them free."""

    def hold(self, request: RequestView, end: int) -> int:
        """Tokens for which it gets blocks on admission, its prefix hits included; at least end, those stored after
        the step that admits it.
        """
        return end

    def admits(self, request: RequestView, held: int, taken: int, free: int) -> bool:
        """Whether it may come in now. held: what hold() said, in tokens; taken: free blocks that it would cost;
        free: blocks nobody holds.
        """
        return taken <= free

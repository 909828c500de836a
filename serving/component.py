"""What the exchangeable parts of a scheduler have in common: a view of the engine, and notices of what happens."""

from serving.schedule.contract import Outcome, Plan
from serving.view import EngineView, RequestView

NOTICES = ("arrived", "admitted", "first_token", "preempted", "finished", "aborted")


class Component:
    """Base of policies, admission controls and reservations. A subclass is a dataclass; its fields are its options.

    needs: what every request must state for it ("deadline", "predicted_output_len"), and "cost" for step_time().
    engine: read-only view; there from bind() on, so not yet in __post_init__.

    The notices below say what happened, after it did; they decide nothing.
    """

    needs: frozenset[str] = frozenset()
    engine: EngineView

    def bind(self, engine: EngineView) -> None:
        """Called once, before anything else. One object serves one engine."""
        self.engine = engine

    def arrived(self, request: RequestView) -> None:
        """It was accepted and begins to wait."""

    def admitted(self, request: RequestView) -> None:
        """It entered the batch: for the first time, or again after a preemption."""

    def first_token(self, request: RequestView) -> None:
        """Its first output token is on the host."""

    def preempted(self, request: RequestView) -> None:
        """It gave way and waits again."""

    def finished(self, request: RequestView) -> None:
        """Its output is complete."""

    def aborted(self, request: RequestView) -> None:
        """Its client has gone."""

    def observe(self, plan: Plan, outcome: Outcome) -> None:
        """A step is complete. Both are immutable."""

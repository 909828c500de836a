"""What a world tells of a run while it goes on, whoever keeps it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from records.manifest import Manifest
from serving.metrics.money import Rental
from serving.request import Request
from serving.schedule.contract import QuietSteps, StepReceipt


class RunSink(Protocol):
    """step() and log() in order for each engine, as often as there is something to tell; then finish(), once.

    engine, everywhere: its number, as new_engine() gave it; 0 where there is only one.
    """

    @property
    def keeps_log(self) -> bool:
        """Whether log() is of any use."""

    def new_engine(self, replica: int, life: int) -> int:
        """An engine starts. life: how often that replica has been started before. Returns its number."""

    def sent(self, request: Request) -> None:
        """Its client sent it, at its arrival time."""

    def placed(self, request_id: str, replica: int) -> None:
        """A router gave it to a replica."""

    def lost(self, request_id: str) -> None:
        """The engine that had it has failed."""

    def step(self, receipt: StepReceipt, engine: int = 0, moved: Collection[str] = ()) -> None:
        """A step that ran. moved: who ended there, but goes on on another engine.

        Errors: InvariantError if it names a request that is not among those of the run.
        """

    def quiet_steps(self, steps: QuietSteps, engine: int = 0) -> None:
        """Steps that ran, and in which nothing happened but decodes."""

    def log(self, line: Mapping[str, Any], engine: int = 0) -> None:
        """A line of the replay log (inputs.py)."""

    def finish(
        self,
        manifest: Manifest,
        rejected: Mapping[str, str],
        unsent: Mapping[str, str],
        fleet: Mapping[str, Any] | None = None,
        rentals: Sequence[Rental] | None = None,
    ) -> None:
        """rejected, unsent: id -> reason. fleet, rentals: see summarize_run(). manifest.files is filled in here."""

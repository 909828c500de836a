"""A bar on stderr: prompts served, and how fast."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class GenerationProgress:
    """total: prompts. A context; with shown=False it does nothing."""

    def __init__(self, total: int, shown: bool) -> None:
        self._bar = Bar(
            TextColumn("generating"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("prefill {task.fields[prefill]:.0f} tok/s, decode {task.fields[decode]:.0f} tok/s"),
            console=Console(stderr=True),
            refresh_per_second=2,
            disable=not shown,
        )
        self._task = self._bar.add_task("", total=total, prefill=0.0, decode=0.0)

    def __enter__(self) -> "GenerationProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def stepped(self, num_finished: int, num_tokens: int, seconds: float) -> None:
        """num_tokens: as LLM.step() says it."""
        if num_tokens > 0:
            self._bar.update(self._task, advance=num_finished, prefill=num_tokens / seconds)
        else:
            self._bar.update(self._task, advance=num_finished, decode=-num_tokens / seconds)

"""One check in a process of its own: what breaks the device's context, fills its memory or hangs there ends with it."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from serving.errors import BlockedError

Found = dict[str, Any]
PATIENCE_S = 5.0
"""For a process that has answered, or was asked to end."""


@dataclass(frozen=True)
class Result:
    """outcome: passed, FAILED, or blocked: there is no such device."""

    name: str
    outcome: str
    seconds: float
    found: Found


def measured(name: str, measure: Callable[[Path], Found], folder: Path, limit_s: float) -> Result:
    """measure: importable by name. What it raises, or how it ends, is the result."""
    began = time.perf_counter()
    processes = get_context("spawn")
    answers, ours = processes.Pipe(duplex=False)
    process = processes.Process(target=_answer, args=(ours, measure, folder))
    process.start()
    ours.close()
    if answers.poll(limit_s):
        try:
            outcome, found = answers.recv()
        except EOFError:
            process.join(PATIENCE_S)
            outcome, found = "FAILED", {"error": f"its process ended with exit code {process.exitcode}"}
    else:
        process.kill()
        outcome, found = "FAILED", {"error": f"not done after {limit_s:.0f} s"}
    _end(process)
    return Result(name, outcome, time.perf_counter() - began, found)


def _answer(to: Connection, measure: Callable[[Path], Found], folder: Path) -> None:
    try:
        found = measure(folder)
        to.send(("passed" if found.get("passed", True) else "FAILED", found))
    except BlockedError as error:
        to.send(("blocked", {"why": str(error)}))
    except Exception as error:  # a device that nobody here has seen: whatever it is, it goes home with the folder
        where = "".join(traceback.format_exception(error))
        to.send(("FAILED", {"error": f"{type(error).__name__}: {error}", "traceback": where}))


def _end(process: Any) -> None:
    process.join(PATIENCE_S)
    if process.is_alive():
        process.kill()
        process.join()

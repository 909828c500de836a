"""steps.parquet and inputs.jsonl while they grow: one pair an engine, joined at the end where there are several.

An engine's rows and lines are in the order in which things happened to it; engines follow each other by number. So the
bytes do not depend on how far a simulation lets one engine run ahead of the others.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq

from records.schema import STEPS
from records.step_rows import StepRows, split_quiet
from serving.schedule.contract import QuietSteps, StepReceipt

STEPS_A_ROW_GROUP = 4096
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
PARQUET: Mapping[str, Any] = {"compression": "zstd", "compression_level": 3, "version": "2.6"}


class EngineFiles:
    """name: keys that each line of the log begins with, where there are several engines; they are kept apart then."""

    def __init__(self, folder: Path, steps: StepRows, name: Mapping[str, int]) -> None:
        self.name = name
        self.folder = folder / f"engine-{name['replica']}-{name['life']}" if name else folder
        self.num_steps = self.num_lines = 0
        self.aborted: list[str] = []
        self._steps = steps
        self._added: set[str] = set()

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        with ExitStack() as files:
            self._table = files.enter_context(pq.ParquetWriter(self.folder / "steps.parquet", STEPS, **PARQUET))
            path = self.folder / "inputs.jsonl"
            self._log = files.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
            self._files = files.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._files.close()

    def step(self, receipt: StepReceipt) -> None:
        self._steps.add(receipt)
        self._count(1)

    def quiet_steps(self, steps: QuietSteps) -> None:
        while steps.host_ats:
            first, steps = split_quiet(steps, STEPS_A_ROW_GROUP - len(self._steps))
            self._steps.add_quiet(first)
            self._count(len(first.host_ats))

    def _count(self, num_steps: int) -> None:
        self.num_steps += num_steps
        if len(self._steps) == STEPS_A_ROW_GROUP:
            self._table.write_table(self._steps.take())

    def log(self, line: Mapping[str, Any]) -> None:
        self._log.write(_to_json({**self.name, **line}) + "\n")
        self.num_lines += 1
        if line["type"] == "add":
            self._added.add(line["request"]["request_id"])
        elif line["type"] == "abort" and line["request_id"] in self._added:
            self.aborted.append(line["request_id"])

    def finish(self) -> None:
        if len(self._steps):
            self._table.write_table(self._steps.take())
        self._files.close()


def join(folder: Path, engines: Sequence[EngineFiles]) -> None:
    """The files of all engines become those of the run."""
    ordered = sorted(engines, key=lambda engine: (engine.name["replica"], engine.name["life"]))
    with pq.ParquetWriter(folder / "steps.parquet", STEPS, **PARQUET) as table:
        for engine in ordered:
            with pq.ParquetFile(engine.folder / "steps.parquet") as part:
                for i in range(part.num_row_groups):
                    table.write_table(part.read_row_group(i))
    with open(folder / "inputs.jsonl", "wb") as log:
        for engine in ordered:
            with open(engine.folder / "inputs.jsonl", "rb") as lines:
                shutil.copyfileobj(lines, log)
    for engine in ordered:
        shutil.rmtree(engine.folder)

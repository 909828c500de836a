"""The folder of a check: what it is the check of, what it holds, and that one process alone works in it.

check.json            the plan; written first
real-CELL-REPEAT/     a run on hardware: a run record, or what a client of a server saw (client/record.py)
sim-CELL-REPEAT/      its simulation
fidelity.json         the figures          report.txt    them as tables
manifest.json         sha256 of these files and of the manifest of every run; written last
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from records.atomic import check_parent, write_file
from records.json_values import Frozen, JsonObject, explain, pretty_json
from serving.errors import ConfigError, RecordError

PLAN, FIDELITY, REPORT, MANIFEST = "check.json", "fidelity.json", "report.txt", "manifest.json"
LOCK = ".lock"


class PlannedCell(Frozen):
    """scenario_sha256: of the cell without its chance."""

    name: str
    rank: int = Field(ge=1)
    role: Literal["winner", "best", "worst"]
    scenario_sha256: str


class Plan(Frozen):
    """What decides which runs a check is made of; how many repeats is not part of it, so that there can be more.

    sweep_sha256: of the sweep's manifest. workloads: sha256 of the requests of each chance that repeats take in turn.
    hardware, model: of the machine; None where servers run elsewhere. seed: of random weights, and of the order.
    """

    format: Literal["servetwin.check/1"] = "servetwin.check/1"
    sweep_sha256: str
    group: str
    figure: str
    cells: list[PlannedCell]
    workloads: list[str]
    on: Literal["this machine", "servers"]
    hardware: JsonObject | None = None
    model: JsonObject | None = None
    seed: int = 0

    def to_json(self) -> bytes:
        return pretty_json(self.model_dump(mode="json"))


@contextmanager
def check_folder(out: Path, plan: Plan) -> Iterator[None]:
    """The folder, locked; new, or one of the same plan, whose whole runs stay.

    Errors: RecordError where another check works in it, or it holds anything else.
    """
    check_parent(out)
    if out.exists() and not out.is_dir():
        raise RecordError(f"cannot write {out}: a file of this name is there; give another --out")
    try:
        out.mkdir(exist_ok=True)
        handle = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RecordError(f"cannot write in {out}: {error.strerror or error}; give another --out") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecordError(
                f"{out}: another check is at work in it; wait for its end, or give another --out"
            ) from error
        _begin(out, plan)
        yield
    finally:
        os.close(handle)


def next_free(root: Path = Path("runs")) -> Path:
    """runs/check-N, which is not there yet."""
    root.mkdir(exist_ok=True)
    return next(place for n in count(1) if not (place := root / f"check-{n}").exists())


def highest_repeat(out: Path) -> int:
    """Of the runs on hardware that are there; 0 without any."""
    numbers = [place.name.rpartition("-")[2] for place in out.glob("real-*") if (place / "manifest.json").exists()]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def write_results(out: Path, fidelity: bytes, report: bytes, runs: list[Path]) -> None:
    """manifest.json last: where it is, all that it names was written."""
    write_file(out / FIDELITY, fidelity)
    write_file(out / REPORT, report)
    files = [out / PLAN, out / FIDELITY, out / REPORT, *(run / "manifest.json" for run in runs)]
    told = {str(file.relative_to(out)): sha256(file.read_bytes()).hexdigest() for file in files}
    write_file(out / MANIFEST, pretty_json({"format": "servetwin.check-results/1", "files": told}))


def _begin(out: Path, plan: Plan) -> None:
    there = [place.name for place in out.iterdir() if place.name != LOCK]
    if PLAN in there:
        _check_same(out / PLAN, plan)
        for left in out.glob("*.tmp-*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        (out / MANIFEST).unlink(missing_ok=True)  # of results that are about to be older than the runs
    elif there:
        raise RecordError(f"{out} holds {sorted(there)[0]} and is no check ({PLAN} is missing); give another --out")
    else:
        write_file(out / PLAN, plan.to_json())


def _check_same(place: Path, plan: Plan) -> None:
    try:
        before = Plan.model_validate_json(place.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{place}: {explain(error, Plan)}; give another --out") from error
    differing = [name for name in Plan.model_fields if getattr(before, name) != getattr(plan, name)]
    if differing:
        raise ConfigError(
            f"{place.parent} is another check (its {', '.join(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'}); repeat that command to go on, or give another --out"
        )

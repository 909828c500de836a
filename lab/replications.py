"""Replications: one system simulated several times over, under other noise, with other requests, or both.

DIR/noise-5 ... noise-14 (or workload-1 ...)    a run record each
DIR/replications.json                           the figures of all, and confidence intervals; written last
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from calibration.t_interval import CONFIDENCE
from lab.console import progress
from lab.intervals import Interval, interval_of, of_one_more
from lab.run_figures import FIGURES
from lab.summary import read_summary, system_of
from records.atomic import check_new_folder, check_parent, write_file
from records.json_values import Frozen, explain, pretty_json
from records.manifest import WorkloadIdentity
from records.run import RunRecord
from serving.errors import ConfigError, RecordError
from workloads.workload import Workload

FILE = "replications.json"

Simulate = Callable[[Path, Workload, int | None], RunRecord]
"""(folder of the run record, workload, noise seed) -> the record."""


class Replication(Frozen):
    """run: the folder of its record, in that of the set. noise_seed: None where steps took their mean times."""

    run: str
    workload: WorkloadIdentity
    noise_seed: int | None

    @property
    def drawn(self) -> tuple[str, int | None]:
        """All that chance had a hand in; replications of two systems that are equal in it are a pair."""
        return self.workload.sha256, self.noise_seed


class Estimate(Frozen):
    """A figure over all replications, in the unit of summary.json.

    values: by replication, None where a run has not got it. Mean and 95 % confidence interval, mean ± half_width,
    only where every run has: the runs without are no random choice. The interval is of the mean; where coefficients
    are drawn it is of one more run: more replications do not make a calibration more certain.
    """

    mean: float | None
    half_width: float | None
    values: list[float | None]

    @classmethod
    def over(cls, values: Sequence[float | None], of_a_run: bool = False) -> Self:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return cls(mean=None, half_width=None, values=list(values))
        found = interval_of(known)
        if of_a_run:
            found = of_one_more(found, len(known))
        return cls(mean=found.mean, half_width=found.half_width, values=list(values))

    @property
    def interval(self) -> Interval | None:
        return None if self.mean is None or self.half_width is None else Interval(self.mean, self.half_width)


class Replications(Frozen):
    """replications.json. system: what was simulated, for a person. figures: names as RunFigure has them.

    drawn_coefficients: each replication was simulated with other coefficients of the profile.
    """

    format: Literal["servetwin.replications/1"] = "servetwin.replications/1"
    unit: Literal["seconds"] = "seconds"
    confidence: float = CONFIDENCE
    system: str
    drawn_coefficients: bool = False
    replications: Annotated[list[Replication], Field(min_length=2)]
    figures: dict[str, Estimate]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({replication.drawn for replication in self.replications}) < len(self.replications):
            raise ValueError("two replications have the same workload and noise seed")
        for name, estimate in self.figures.items():
            if name not in FIGURES:
                raise ValueError(f"there is no figure {name!r}")
            if len(estimate.values) != len(self.replications):
                raise ValueError(f"{name} has {len(estimate.values)} values for {len(self.replications)} replications")
        return self

    def to_json(self) -> bytes:
        return pretty_json(self.model_dump(mode="json"))


class Draw(NamedTuple):
    """What one replication is made of."""

    run: str
    workload: Workload
    noise_seed: int | None


def draws(workloads: Sequence[Workload], replications: int | None, noise_seed: int | None) -> list[Draw]:
    """One workload under several noise seeds, several workloads, or both: workload i under noise_seed + i.

    Errors: ConfigError where that is not two or more different replications.
    """
    count = len(workloads) if replications is None else replications
    if count < 2:
        raise ConfigError(f"--replications is {count}; an interval of confidence takes at least 2")
    if len(workloads) not in (1, count):
        raise ConfigError(f"{len(workloads)} workloads for --replications {count}; give one, or {count}")
    if noise_seed is not None:
        all_of = workloads if len(workloads) == count else [*workloads] * count
        return [Draw(f"noise-{noise_seed + i}", workload, noise_seed + i) for i, workload in enumerate(all_of)]
    if len(workloads) == 1:
        raise ConfigError(
            f"without noise, {count} replications of one workload would all be equal; give --noise-seed, or "
            f"as many workloads"
        )
    place_of: dict[str, int] = {}
    for place, workload in enumerate(workloads):
        first = place_of.setdefault(workload.sha256, place)
        if first != place:
            raise ConfigError(
                f"workloads {first + 1} and {place + 1} ({workloads[first].name}, {workload.name}) are the same "
                f"requests, so without noise their replications would be equal; give others, or --noise-seed"
            )
    return [Draw(f"workload-{i}", workload, None) for i, workload in enumerate(workloads, 1)]


def replicate(
    folder: Path,
    drawn: Sequence[Draw],
    simulate: Simulate,
    force: bool = False,
    drawn_coefficients: bool = False,
) -> Replications:
    """Simulate each and write what they say together. drawn_coefficients: whether `simulate` draws them.

    force: replace those that are there. Errors: RecordError where the folder cannot be written, or holds anything else.
    """
    with _set_folder(folder, [draw.run for draw in drawn], force), progress("replications", len(drawn), "runs") as tell:
        records: list[RunRecord] = []
        for draw in drawn:
            records.append(simulate(folder / draw.run, draw.workload, draw.noise_seed))
            (folder / FILE).unlink(missing_ok=True)  # that of a set which is being replaced, and no longer whole
            tell(len(records))
        found = Replications(
            system=system_of(records[0].manifest),
            replications=[
                Replication(run=draw.run, workload=record.manifest.workload, noise_seed=draw.noise_seed)
                for draw, record in zip(drawn, records, strict=True)
            ],
            figures=_estimates([read_summary(record) for record in records], drawn_coefficients),
            drawn_coefficients=drawn_coefficients,
        )
        write_file(folder / FILE, found.to_json())
    return found


def read_replications(folder: Path) -> Replications:
    """Errors: RecordError that says what is wrong with replications.json."""
    place = folder / FILE
    try:
        data = place.read_bytes()
    except OSError as error:
        raise RecordError(
            f"{place}: cannot be read: {error.strerror or error}; servetwin simulate --replications writes it, last"
        ) from error
    try:
        return Replications.model_validate_json(data)
    except ValidationError as error:
        raise RecordError(f"{place}: {explain(error, Replications)}") from error


def _estimates(summaries: Sequence[Mapping[str, Any]], of_a_run: bool) -> dict[str, Estimate]:
    """Of the figures that at least one run has."""
    found: dict[str, Estimate] = {}
    for name, figure in FIGURES.items():
        values = [figure.of(summary) for summary in summaries]
        if any(value is not None for value in values):
            found[name] = Estimate.over(values, of_a_run)
    return found


@contextmanager
def _set_folder(folder: Path, runs: Sequence[str], force: bool) -> Iterator[None]:
    """Whole runs stay when the block fails; a folder that is empty then, and was not there before, goes."""
    _check_set_folder(folder, runs, force)
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _check_set_folder(folder: Path, runs: Sequence[str], force: bool) -> None:
    check_parent(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordError(f"cannot write {folder}: a file of this name is there; give another name")
    there = sorted(place.name for place in folder.iterdir())
    if there and not force:
        raise RecordError(f"{folder} is not empty; give another folder, or --force to replace replications")
    for name in there:
        if name not in (FILE, *runs):
            raise RecordError(
                f"{folder} holds {name}, which is none of these replications; remove it, or give another folder"
            )
    for run in runs:
        check_new_folder(folder / run, force)

"""What a search for capacity tells: to a person, as one JSON object, and as a table of every simulation."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from lab.capacity.contest import Found, Pair, Question
from lab.capacity.verdict import CONFIDENCE, Verdict
from lab.numbers import significant
from lab.wide_tables import Titled

if TYPE_CHECKING:
    import pandas as pd


def print_capacity(found: Sequence[Found], pairs: Sequence[Pair], question: Question, level: str) -> None:
    console = Console(highlight=False, markup=False)
    title = f"The highest rate at which {level}, requests/s; between the two ends it cannot be told"
    columns = ("engine", "holds to", "fails from", "estimate", "goodput", "runs")
    Titled(title, columns, [_row(one, question.target) for one in found]).print(console)
    for line in (*map(_pair_line, pairs), *(note for one in found for note in notes(one))):
        console.print(line, soft_wrap=True)


def _row(found: Found, target: float) -> tuple[str, ...]:
    capacity, estimate = found.capacity, found.capacity.estimate(target)
    there = next((v for v in found.curve if v.rate == capacity.holds_to), None)
    return (
        found.entry.name,
        "none" if capacity.holds_to is None else significant(capacity.holds_to),
        significant(capacity.fails_from),
        "" if estimate is None else significant(estimate),
        "" if there is None else significant(_goodput(there)),
        f"{sum(len(verdict.runs) for verdict in found.curve)}",
    )


def _pair_line(pair: Pair) -> str:
    if pair.ahead is not None:
        other = pair.b if pair.ahead == pair.a else pair.a
        how = "" if pair.difference is None else f" (attainment at {significant(pair.rate or 0)}/s: {_points(pair)})"
        return f"{pair.ahead} serves more than {other}{how}"
    how = (
        "" if pair.difference is None else f": attainment at {significant(pair.rate or 0)}/s differs by {_points(pair)}"
    )
    return f"{pair.a} and {pair.b} cannot be told apart{how}"


def _points(pair: Pair) -> str:
    assert pair.difference is not None
    return f"{100 * pair.difference.mean:+.2f} ± {100 * pair.difference.half_width:.2f} points"


def notes(found: Found) -> Iterator[str]:
    """What a reader has to know before the figures are believed."""
    name, capacity, longer = f"note: {found.entry.name}", found.capacity, found.longer
    if capacity.holds_to is None:
        lowest = capacity.verdicts[0]
        yield (
            f"{name}: it holds at no rate: at {significant(lowest.rate)}/s {lowest.attainment:.1%} of the requests "
            f"keep it, so even those that meet nobody are too slow for this level"
        )
    if capacity.fails_below is not None:
        yield (
            f"{name}: at {significant(capacity.fails_below)}/s it fails, below a rate at which it holds: more load "
            f"does not always mean less attainment here, and a search by halves may miss other such rates"
        )
    if longer is not None and longer.holds is False:
        yield (
            f"{name}: with twice the requests the attainment at {significant(capacity.holds_to or 0)}/s falls from "
            f"{longer.before:.1%} to {longer.attainment:.1%}: the queue still grows at the end of so short a run, and "
            f"a longer one has less capacity; give more --requests"
        )


def as_dict(found: Sequence[Found], pairs: Sequence[Pair], question: Question, level: str) -> dict[str, Any]:
    return {
        "unit": "requests/s",
        "level": level,
        "attainment": question.target,
        "confidence_of_a_verdict": CONFIDENCE,
        "engines": [_entry(one, question.target) for one in found],
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "ahead": pair.ahead,
                "rate": pair.rate,
                "attainment_a_less_b": None
                if pair.difference is None
                else {"mean": pair.difference.mean, "half_width": pair.difference.half_width},
            }
            for pair in pairs
        ],
    }


def _entry(found: Found, target: float) -> dict[str, Any]:
    capacity = found.capacity
    return {
        "name": found.entry.name,
        "scenario": found.entry.scenario.model_dump(mode="json", exclude_unset=True),
        "holds_to": capacity.holds_to,
        "fails_from": capacity.fails_from,
        "estimate": capacity.estimate(target),
        "with_twice_the_requests": None if found.longer is None else found.longer._asdict(),
        "notes": list(notes(found)),
        "curve": [
            {
                "rate": v.rate,
                "holds": v.holds,
                "simulations": len(v.runs),
                "attainment": v.attainment,
                "half_width": v.half_width,
                "goodput_requests_per_s": _goodput(v),
            }
            for v in found.curve
        ],
    }


def table(found: Sequence[Found]) -> "pd.DataFrame":
    """curve.parquet: a row a simulation: engine, rate, seed, attainment, goodput, throughput (requests/s)."""
    import pandas as pd

    rows = [
        (one.entry.name, verdict.rate, seed, *run)
        for one in found
        for verdict in one.curve
        for seed, run in enumerate(verdict.runs)
    ]
    return pd.DataFrame(rows, columns=["engine", "rate", "seed", "attainment", "goodput", "throughput"])


def _goodput(verdict: Verdict) -> float:
    return sum(run.goodput for run in verdict.runs) / len(verdict.runs)

"""A diagnosis as a person reads it, and as one JSON object."""

from collections import Counter
from collections.abc import Iterator
from shlex import quote
from typing import Any

import numpy as np
from rich.console import Console

from lab.diagnose.against import Difference
from lab.diagnose.causes import OWN_PREFILL
from lab.diagnose.diagnose import Diagnosis
from lab.diagnose.statement import Statement
from lab.diagnose.weigh import Verdict, Weight
from lab.numbers import significant
from lab.wide_tables import Titled

MOST_ROWS = 10


def print_diagnosis(found: Diagnosis, run: str, how_to: str) -> None:
    """how_to: options that servetwin whatif needs for this run."""
    console = Console(highlight=False, markup=False)
    for line in headlines(found):
        console.print(line, soft_wrap=True)
    console.print()
    title = (
        f"What takes TTFT, ms in the mean of {len(found.weights.ids)} requests, and of the slowest hundredth; "
        f"{found.weights.simulations} simulations{_orders(found)}"
    )
    columns = ("cause", "part", "mean", "taken out first", "taken out last", "slowest 1 %")
    Titled(title, columns, list(_rows(found)), words=2).print(console)
    for line in found.seen.lines():
        console.print(f"seen: {line}", soft_wrap=True)
    for told in found.statements:
        console.print(f"to be tested: {told.told()}", soft_wrap=True)
        console.print(f"    {command(told, run, how_to)}", soft_wrap=True)
    if found.slow:
        console.print()
        rows = [_slow_row(found, i) for i in range(min(MOST_ROWS, len(found.slow)))]
        title = f"Slow requests ({found.why_slow}): {len(found.slow)}; {_counted(found)}"
        Titled(title, ("request", "TTFT ms", "alone", "most of it", "ms", "not told apart from"), rows).print(console)


def _orders(found: Diagnosis) -> str:
    weights = found.weights
    return f"; weights are estimates, from {weights.orders} of the orders" if weights.is_estimate else ""


def headlines(found: Diagnosis) -> Iterator[str]:
    if found.is_healthy:
        yield (
            "Nothing dominates but the prompts' own prefill: most of TTFT is what requests would need if they met "
            "nobody, in the mean and in the slowest hundredth"
        )
        return
    yield f"In the mean: {_told(found.mean)}"
    yield f"In the slowest hundredth: {_told(found.tail)}"


def _told(verdict: Verdict) -> str:
    if verdict.cause is None:
        return f"nothing but own prefill, {significant(verdict.seconds * 1e3)} ms of TTFT"
    cause = verdict.cause
    apart = ""
    if verdict.rivals:
        apart = f"; it cannot be told apart from {', '.join(rival.name for rival in verdict.rivals)}"
    return f"{cause.name} ({cause.group}): {cause.told}; {significant(verdict.seconds * 1e3)} ms of TTFT{apart}"


def _rows(found: Diagnosis) -> Iterator[tuple[str, ...]]:
    weights = found.weights
    tail = {weight.cause: weight for weight in weights.of(weights.p99)}
    for weight in weights.of(np.arange(len(weights.ids))):
        yield (
            weight.cause.name,
            weight.cause.group,
            *(_ms(value) for value in weight[1:]),
            _ms(tail[weight.cause].shapley),
        )
    own = weights.own
    yield (OWN_PREFILL, "", _ms(float(own.mean())), "", "", _ms(float(own[weights.p99].mean())))
    ttft = weights.ttft
    yield ("TTFT", "", _ms(float(ttft.mean())), "", "", _ms(float(ttft[weights.p99].mean())))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}"


def _slow_row(found: Diagnosis, i: int) -> tuple[str, ...]:
    one = found.slow[i]
    rivals = ", ".join(rival.name for rival in one.verdict.rivals[:2])
    rivals += ", ..." if len(one.verdict.rivals) > 2 else ""
    return (one.request_id, _ms(one.ttft), _ms(one.own), one.verdict.name, _ms(one.verdict.seconds), rivals)


def _counted(found: Diagnosis) -> str:
    counts = Counter(one.verdict.name for one in found.slow)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def command(told: Statement, run: str, how_to: str) -> str:
    return f"servetwin whatif {quote(run)} --set {quote(told.knob)}{how_to}"


def as_dict(found: Diagnosis, run: str, how_to: str) -> dict[str, Any]:
    weights = found.weights
    return {
        "unit": "seconds of TTFT",
        "requests": len(weights.ids),
        "simulations": weights.simulations,
        "orders": weights.orders,
        "weights_are_estimates": weights.is_estimate,
        "healthy": found.is_healthy,
        "mean": _verdict(found.mean),
        "slowest_hundredth": _verdict(found.tail),
        "weights": [_weight(weight) for weight in weights.of(np.arange(len(weights.ids)))],
        "weights_of_the_slowest_hundredth": [_weight(weight) for weight in weights.of(weights.p99)],
        "own_prefill": float(weights.own.mean()),
        "ttft": float(weights.ttft.mean()),
        "seen": found.seen.as_dict(),
        "statements": [
            {**told._asdict(), "told": told.told(), "command": command(told, run, how_to)} for told in found.statements
        ],
        "slow": {
            "which": found.why_slow,
            "requests": [
                {"request_id": s.request_id, "ttft": s.ttft, "own_prefill": s.own, **_verdict(s.verdict)}
                for s in found.slow
            ],
        },
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "cause": verdict.name,
        "group": None if verdict.cause is None else verdict.cause.group,
        "seconds": verdict.seconds,
        "cannot_be_told_apart_from": [rival.name for rival in verdict.rivals],
    }


def _weight(weight: Weight) -> dict[str, Any]:
    return {
        "cause": weight.cause.name,
        "group": weight.cause.group,
        "seconds": weight.shapley,
        "taken_out_first": weight.first,
        "taken_out_last": weight.last,
    }


def print_difference(found: Difference) -> None:
    console = Console(highlight=False, markup=False)
    told = "; ".join(f"{part}: {what}" for part, what in found.parts.items())
    console.print(f"The other run differs in {told}", soft_wrap=True)
    rows = [
        (name, _ms(before), _ms(after), *(f"{shares[part] * 1e3:+,.1f}" for part in found.parts))
        for name, (before, after, shares) in found.figures.items()
    ]
    title = f"Share of each part in the difference, ms; {found.simulations} simulations"
    Titled(title, ("", "this", "other", *found.parts), rows).print(console)
    for name in ("TTFT mean", "TPOT mean"):
        if part := found.dominant(name):
            console.print(f"{name}: most of the difference is of {part} ({found.parts[part]})", soft_wrap=True)
    console.print()


def difference_dict(found: Difference) -> dict[str, Any]:
    return {
        "unit": "seconds",
        "parts": dict(found.parts),
        "figures": {
            name: {"this": before, "other": after, "shares": dict(shares), "most": found.dominant(name)}
            for name, (before, after, shares) in found.figures.items()
        },
        "simulations": found.simulations,
    }

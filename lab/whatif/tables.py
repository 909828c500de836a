"""What a change did, as tables for a person, and as JSON."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Console

from lab.intervals import Interval
from lab.numbers import plus_minus
from lab.whatif.effect import METRICS, Effect, Group
from lab.whatif.repeats import Repeats
from lab.whatif.whatif import WhatIf
from lab.wide_tables import WIDTH, Titled, print_all

MOST = 8
"""Requests shown that gain most, and that lose most."""
_SHOWN = ("ttft", "queue", "schedule", "prefill", "return", "e2e")


def print_whatif(found: WhatIf, every_request: bool) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere. Milliseconds."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, highlight=False, markup=False)
    console.print(verdict(found), soft_wrap=True)
    for note in notes(found):
        console.print(f"note: {note}", soft_wrap=True)
    print_all(console, _parts(found, every_request))


def verdict(found: WhatIf) -> str:
    """In a sentence: TTFT and E2E in the mean, and who gets the first token sooner or later."""
    effect = found.effect
    rows = effect.requests["ttft"]
    gain, lose = int((rows < 0).sum()), int((rows > 0).sum())
    means = {m.metric: m for m in effect.measures if m.statistic == "mean"}
    told = ", ".join(
        f"mean {name.upper()} {_ms(means[name].before)} -> {_ms(means[name].after)} ms" for name in ("ttft", "e2e")
    )
    if found.decision is not None and (own := found.decision.steering.request_id) in effect.ids:
        place = list(effect.ids).index(own)
        before, after = (side.requests["ttft"].loc[effect.ids].iloc[place] for side in (effect.before, effect.after))
        told = f"its own TTFT {_ms(before)} -> {_ms(after)} ms, {told}"
    p99 = next(m for m in effect.measures if m.label == "ttft p99")
    return (
        f"With {found.told}: {told}, P99 TTFT {_ms(p99.before)} -> {_ms(p99.after)} ms; of {len(rows)} requests {gain} "
        f"get their first token sooner, {lose} later"
    )


def notes(found: WhatIf) -> list[str]:
    """What a reader must know before believing the figures."""
    told = [found.again.fidelity.told()]
    if found.again.record.manifest.world == "real":
        told.append("before and after are simulations of this run: believe the differences, not the times themselves")
    if found.decision is not None:
        told.append(f"decided: {found.decision.decided}; instead: {found.decision.instead}")
    otherwise = found.effect.ended_otherwise
    if otherwise:
        first, (before, after) = next(iter(otherwise.items()))
        told.append(
            f"{len(otherwise)} requests ended otherwise (as {first}: {before}, then {after}); times are of those that "
            f"finished both ways"
        )
    if found.repeats is not None:
        told.append(found.repeats.chances.told())
    elif found.decision is not None:
        told.append("no interval: the decision is one of this very run")
    else:
        told.append("no interval: one pair of simulations, this run's")
    return told


def _parts(found: WhatIf, every_request: bool) -> Iterator[str | Titled]:
    effect, repeats = found.effect, found.repeats
    yield _measures(effect, repeats)
    yield _groups(effect, repeats)
    if repeats is not None:
        surely = repeats.surely()
        yield (
            f"Over all pairs, request by request: {surely['sooner']} get their first token sooner, {surely['later']} "
            f"later, {surely['unchanged']} as before; of {surely['unknown']} it cannot be told"
        )
    gains, losses = effect.most(MOST)
    if every_request:
        yield _requests("All requests, after - before, ms", effect.requests)
        return
    if len(gains):
        yield _requests("First token sooner, the most first; after - before, ms", gains)
    if len(losses):
        yield _requests("First token later, the most first; after - before, ms", losses)


def _measures(effect: Effect, repeats: Repeats | None) -> Titled:
    columns = ["ms", "before", "after", "after - before", *([] if repeats is None else ["over pairs"])]
    rows = []
    for measure in effect.measures:
        indent = "  " if measure.metric in METRICS[1:7] else ""
        row = [f"{indent}{measure.label}", _ms(measure.before), _ms(measure.after), _ms(measure.change, "+")]
        if repeats is not None:
            row.append(_interval(repeats.measure(measure.metric, measure.statistic)))
        rows.append(row)
    return Titled(f"The run: {len(effect.ids)} requests that finish both ways", columns, rows)


def _groups(effect: Effect, repeats: Repeats | None) -> Titled:
    columns = [
        "",
        "",
        "requests",
        "sooner",
        "later",
        "TTFT ms",
        "E2E ms",
        *([] if repeats is None else ["TTFT, pairs"]),
    ]
    rows = []
    for group in effect.groups:
        row = [group.by, group.name, str(len(group.members)), str(group.gain), str(group.lose)]
        row += [_ms(group.ttft, "+"), _ms(group.e2e, "+")]
        if repeats is not None:
            row.append(_interval(repeats.mean_of(_ids(effect, group), "ttft")))
        rows.append(row)
    return Titled("Who gains and who loses: mean of after - before", columns, rows, words=2)


def _ids(effect: Effect, group: Group) -> list[str]:
    return [str(request_id) for request_id in effect.ids[group.members]]


def _requests(title: str, frame: pd.DataFrame) -> Titled:
    rows = [
        [str(request_id), *(_ms(value, "+") for value in values)]
        for request_id, *values in frame[list(_SHOWN)].itertuples()
    ]
    return Titled(title, ["request", *_SHOWN], rows)


def _ms(seconds: float, sign: str = "") -> str:
    return "-" if seconds != seconds else f"{seconds * 1e3:{sign if seconds else ''},.2f}"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    if not interval.mean and not interval.half_width:
        return "0"
    return plus_minus(interval.mean * 1e3, interval.half_width * 1e3, "+")


def as_dict(found: WhatIf, every_request: bool) -> dict[str, Any]:
    """Seconds."""
    effect, repeats = found.effect, found.repeats
    gains, losses = effect.most(MOST)
    told: dict[str, Any] = {
        "unit": "seconds",
        "run": str(found.again.record.folder),
        "changes": [change.name for change in found.changes],
        "told": found.told,
        "verdict": verdict(found),
        "notes": notes(found),
        "requests": len(effect.ids),
        "ended_otherwise": {r: list(statuses) for r, statuses in effect.ended_otherwise.items()},
        "measures": [
            {
                "metric": m.metric,
                "statistic": m.statistic,
                "before": m.before,
                "after": m.after,
                "change": m.change,
                "over_pairs": None if repeats is None else _as_dict(repeats.measure(m.metric, m.statistic)),
            }
            for m in effect.measures
        ],
        "groups": [
            {
                "by": group.by,
                "name": group.name,
                "requests": len(group.members),
                "sooner": group.gain,
                "later": group.lose,
                "ttft": group.ttft,
                "e2e": group.e2e,
                "ttft_over_pairs": None if repeats is None else _as_dict(repeats.mean_of(_ids(effect, group), "ttft")),
            }
            for group in effect.groups
        ],
        "pairs": None if repeats is None else {"count": len(repeats.effects), "ttft": repeats.surely()},
        "sooner": _by_request(gains),
        "later": _by_request(losses),
    }
    if found.decision is not None:
        steering = found.decision.steering
        told["decision"] = {
            "request": steering.request_id,
            "step": steering.step,
            "at": found.decision.at,
            "decided": found.decision.decided,
            "instead": found.decision.instead,
        }
    if every_request:
        told["every_request"] = _by_request(effect.requests)
    return told


def _as_dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "half_width": interval.half_width}


def _by_request(frame: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    return {
        str(row[0]): {
            name: None if value != value else value for name, value in zip(frame.columns, row[1:], strict=True)
        }
        for row in frame.itertuples()
    }

"""Whether the cell that won the sweep won on hardware."""

from dataclasses import dataclass
from typing import Any, Literal

from lab.hardware_check.fidelity import Fidelity
from lab.numbers import plus_minus

Outcome = Literal["won", "lost", "cannot be told"]


@dataclass(frozen=True)
class Verdict:
    """against: the cell that beat it; or those that it cannot be told from.

    control: whether the cell that was the sweep's worst was clearly worse on hardware than its winner; None where no
    such cell ran.
    """

    outcome: Outcome
    winner: str
    against: tuple[str, ...]
    sentence: str
    control: bool | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "winner": self.winner,
            "against": list(self.against),
            "sentence": self.sentence,
            "worst_was_clearly_worse": self.control,
        }


def verdict_of(fidelity: Fidelity, winner: str, worst: str | None) -> Verdict:
    """Clear is what the 95 % interval of a difference over repeats says; one repeat says nothing."""
    others = [score.engine for score in fidelity.ranking.scores if score.engine != winner]
    apart = {other: fidelity.measured(winner, other) for other in others}
    clear = {other for other, d in apart.items() if d.half_width is not None and abs(d.mean) > d.half_width}
    beaten_by = [other for other in others if other in clear and apart[other].mean > 0]
    unclear = tuple(other for other in others if other not in clear)
    control = None if worst is None else worst in clear and apart[worst].mean < 0
    figure = fidelity.figure
    if beaten_by:
        by = max(beaten_by, key=lambda other: apart[other].mean)
        d = apart[by]
        assert d.half_width is not None
        by_how_much = plus_minus(d.mean * figure.scale, d.half_width * figure.scale)
        theirs = fidelity.score(by).measured
        share = f" ({d.mean / abs(theirs):.1%})" if theirs else ""
        sentence = f"{winner} lost to {by} by {_with_unit(by_how_much, figure.unit)} of {figure.label}{share}"
        return Verdict("lost", winner, (by,), sentence, control)
    if unclear:
        told = ", ".join(unclear)
        count = f"{fidelity.repeats} repeats" if fidelity.repeats > 1 else "one repeat, which has no interval"
        return Verdict("cannot be told", winner, unclear, f"{winner} cannot be told from {told} in {count}", control)
    nearest = min(others, key=lambda other: -apart[other].mean)
    d = apart[nearest]
    assert d.half_width is not None
    ahead = plus_minus(-d.mean * figure.scale, d.half_width * figure.scale)
    sentence = f"{winner} won: {figure.label} better than that of {nearest} by {_with_unit(ahead, figure.unit)}"
    return Verdict("won", winner, (), sentence, control)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text

"""A check as tables for a person: the verdict first."""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO

from rich.console import Console

from lab.hardware_check.contest import Contestant
from lab.hardware_check.fidelity import Fidelity
from lab.hardware_check.verdict import Verdict
from lab.numbers import plus_minus, significant
from lab.wide_tables import WIDTH, Titled, print_all


def print_check(
    verdict: Verdict, contestants: Sequence[Contestant], fidelities: Sequence[Fidelity], notes: Sequence[str]
) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    console = Console(highlight=False, markup=False)
    wide = console if console.is_terminal else Console(width=WIDTH, highlight=False, markup=False)
    _print(wide, verdict, contestants, fidelities, notes)


def check_text(
    verdict: Verdict, contestants: Sequence[Contestant], fidelities: Sequence[Fidelity], notes: Sequence[str]
) -> str:
    text = StringIO()
    console = Console(width=WIDTH, file=text, highlight=False, markup=False)
    _print(console, verdict, contestants, fidelities, notes)
    return text.getvalue()


def _print(
    console: Console,
    verdict: Verdict,
    contestants: Sequence[Contestant],
    fidelities: Sequence[Fidelity],
    notes: Sequence[str],
) -> None:
    console.print(f"{verdict.sentence}.", soft_wrap=True)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    print_all(console, _parts(verdict, contestants, fidelities))


def _parts(
    verdict: Verdict, contestants: Sequence[Contestant], fidelities: Sequence[Fidelity]
) -> Iterator[str | Titled]:
    yield _cells(verdict, {one.name: one for one in contestants}, fidelities[0])
    yield _agreement(fidelities)
    yield _pairs(fidelities[0])


def _cells(verdict: Verdict, contestants: Mapping[str, Contestant], fidelity: Fidelity) -> Titled:
    figure = fidelity.figure
    rows = []
    for score in fidelity.ranking.scores:
        one = contestants[score.engine]
        rows.append(
            [
                one.name,
                f"{one.rank}{' (worst)' if one.role == 'worst' else ''}",
                _value(fidelity, one.swept_mean, one.swept_half_width),
                _value(fidelity, fidelity.told(score.simulated), score.simulated_half_width),
                _value(fidelity, fidelity.told(score.measured), score.measured_half_width),
                "-" if one.name == verdict.winner else _apart(fidelity, one.name, verdict.winner),
            ]
        )
    unit = f" in {figure.unit}" if figure.unit else ""
    return Titled(
        f"{figure.label}{unit}, best measured first; ± half of the 95 % interval over {fidelity.repeats} repeat(s)",
        ["cell", "rank in sweep", "in the sweep", "simulated now", "measured", f"measured - {verdict.winner}"],
        rows,
    )


def _agreement(fidelities: Sequence[Fidelity]) -> Titled:
    rows = []
    for fidelity in fidelities:
        r = fidelity.ranking
        beyond = "" if not fidelity.regret else {True: " ≠", False: " =", None: " ?"}[r.regret_beyond_noise]
        rows.append(
            [
                fidelity.figure.label,
                r.simulated_winner,
                r.measured_winner,
                "-" if r.tau is None else f"{r.tau:.2f}",
                "-" if r.clear_tau is None else f"{r.clear_tau:.2f}",
                f"{sum(pair.agree for pair in r.clear_pairs)}/{len(r.clear_pairs)}",
                "-" if fidelity.regret is None else f"{fidelity.regret:.1%}{beyond}",
            ]
        )
    return Titled(
        "Does the simulation rank the cells as the hardware does? clear: the measured difference exceeds noise\n"
        "regret: what who takes the simulation's winner loses; ≠ beyond noise, = inside it, ? unknown",
        ["by", "winner simulated", "measured", "tau", "tau of clear", "signs right", "regret"],
        rows,
        words=3,
    )


def _pairs(fidelity: Fidelity) -> Titled:
    unit = f" in {fidelity.figure.unit}" if fidelity.figure.unit else ""
    rows = []
    for pair in fidelity.ranking.pairs:
        told = [_difference(fidelity, d.mean, d.half_width) for d in (pair.simulated, pair.measured)]
        clear = {None: "one repeat", True: "yes", False: "no"}[pair.beyond_noise]
        rows.append([*pair.engines, *told, "yes" if pair.agree else "NO", clear])
    return Titled(
        f"{fidelity.figure.label}, A - B{unit}",
        ["A", "B", "simulated", "measured", "same sign", "beyond noise"],
        rows,
        words=2,
    )


def _apart(fidelity: Fidelity, cell: str, winner: str) -> str:
    d = fidelity.measured(cell, winner)
    return _difference(fidelity, d.mean, d.half_width)


def _value(fidelity: Fidelity, value: float, half_width: float | None) -> str:
    scale = fidelity.figure.scale
    return significant(value * scale) if half_width is None else plus_minus(value * scale, half_width * scale)


def _difference(fidelity: Fidelity, loss: float, half_width: float | None) -> str:
    value, scale = fidelity.told(loss), fidelity.figure.scale
    if half_width is None:
        return f"{significant(value * scale, sign='+')} ± ?"
    return plus_minus(value * scale, half_width * scale, "+")

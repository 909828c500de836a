"""Calibrate into files, and say in a few lines what came out."""

from pathlib import Path

from calibration.measuring.traffic import AZURE_CONVERSATION, Traffic
from calibration.sources.kinds import source
from lab.console import progress, say
from records.atomic import check_parent
from records.cost_terms import CostTerms, Overlap, Term
from records.json_values import JsonObject
from records.profile import Profile, write_profile, write_samples
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig


def calibrate_to(
    out: Path,
    runner: object,
    config: EngineConfig,
    budget_s: float,
    seed: int,
    traffic: Traffic = AZURE_CONVERSATION,
) -> Profile:
    """Measure, fit, and write the profile with its samples beside it.

    Errors: MeasurementError; where the machine was not fit to be measured, what was measured is kept all the same.
    """
    from calibration.calibrate import calibrate  # needs what measuring needs
    from calibration.measuring.session import RefusedError

    check_parent(out)
    try:
        with progress("measuring the engine", budget_s, "s") as advance:
            result = calibrate(runner, config, budget_s, seed, traffic, say, advance)
    except RefusedError as refused:
        kept = write_samples(out, refused.samples)
        raise MeasurementError(f"{refused}; what was measured is in {out.with_name(kept.name)}") from refused
    return write_profile(out, result.profile, result.samples)


def calibrate_from(out: Path, kind: str, path: Path, name: str, seed: int) -> tuple[Profile, tuple[str, ...]]:
    """Make a profile of what others measured, and write it with what it was fitted to. Returns what to know of it, too.

    Errors: ConfigError for an unknown kind, MeasurementError for what is missing at the path.
    """
    make = source(kind)
    check_parent(out)
    made = make(path, name, seed)
    return write_profile(out, made.profile, made.samples), made.notes


def describe(profile: Profile) -> str:
    """What a step costs, and how well that is known; a line or more for each that the profile says."""
    lines = [
        f"step time = {_formula(profile.execute)}",
        f"engine's own time a step with one sequence: schedule {_base(profile.schedule):.2f} ms, "
        f"complete {_base(profile.complete):.2f} ms, return {_base(profile.return_):.2f} ms",
    ]
    if held := profile.held_out:
        lines.append(_held_out(held))
    if capacity := profile.capacity:
        lines.append(f"capacity: {capacity['requests_per_s']:.1f} requests/s of {capacity['traffic']}")
    if drift := profile.conditions.get("speed_drift"):
        probe = profile.probe or {}
        exponent = probe.get("exponent", 1.0)
        of_work = probe.get("exponent_of_work", exponent)
        lines.append(
            f"the machine's probe varied by {drift:.2f} times meanwhile; the first {probe.get('ms', 0.0):.1f} ms of a "
            f"step take (probe / usual)^{exponent:.2f} times as long, the rest ^{of_work:.2f}, which is divided out"
        )
    return "\n".join(lines)


def _held_out(held: JsonObject) -> str:
    """held: of a profile; each key that holds a median is a kind of step, or a run."""
    parts = [f"{key} {value['median']:.1%}" for key, value in held.items() if "median" in _table(value)]
    line = f"held-out steps: median error {held['median']:.1%}" if "median" in held else "held-out steps:"
    if "steps" in held:
        line += f" over {held['steps']} steps"
    if parts:
        line += f" ({', '.join(parts)})"
    if held.get("same_batch"):
        line += f", where the same batch, run again, differs by {held['same_batch']:.1%}"
    return line + (f"; their total time {held['total_time']:+.1%}" if "total_time" in held else "")


def _table(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _formula(cost: CostTerms) -> str:
    constant = sum(t.coefficient_ms for t in cost.terms if t.feature == "one")
    parts = [f"{constant:.2f} ms"] if constant else []
    parts += [_term(t) for t in cost.terms if t.feature != "one"]
    parts += [_overlap(overlap) for overlap in cost.overlaps]
    return "\n          + ".join(parts or ["0 ms"])


def _term(t: Term) -> str:
    until = "" if t.high is None else f" up to {t.high:g}"
    beyond = f" beyond {t.low:g}" if t.low else ""
    padded = " (padded)" if t.padded else ""
    return f"{t.coefficient_ms * 1e3:.3g} us/{t.feature}{padded}{beyond}{until}"


def _overlap(overlap: Overlap) -> str:
    """On one line: alternatives of which the slowest counts, or most."""
    told = "; ".join(_formula(alternative).replace("\n          + ", " + ") for alternative in overlap.of)
    return f"max({told})" if overlap.power == "max" else f"norm of power {overlap.power}({told})"


def _base(cost: CostTerms) -> float:
    """Milliseconds of a step with one sequence."""
    return sum(t.coefficient_ms for t in cost.every_term() if t.feature in ("one", "num_seqs"))

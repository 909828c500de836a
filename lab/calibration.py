"""Calibrate into files, and say in a few lines what came out."""

from pathlib import Path

from calibration.calibrate import calibrate
from calibration.traffic import AZURE_CONVERSATION, Traffic
from lab.console import progress, say
from records.atomic import check_parent
from records.cost_terms import CostTerms
from records.profile import Profile, write_profile
from serving.schedule.config import EngineConfig


def calibrate_to(
    out: Path,
    runner: object,
    config: EngineConfig,
    budget_s: float,
    seed: int,
    traffic: Traffic = AZURE_CONVERSATION,
) -> Profile:
    """Measure, fit, and write the profile with its samples beside it."""
    check_parent(out)
    with progress("measuring the engine", budget_s, "s") as advance:
        result = calibrate(runner, config, budget_s, seed, traffic, say, advance)
    return write_profile(out, result.profile, result.samples)


def describe(profile: Profile) -> str:
    held, capacity = profile.held_out or {}, profile.capacity or {}
    by_source = ", ".join(
        f"{name} {held[name]['median']:.1%}" for name in ("designed", "saturated", "open-loop") if name in held
    )
    return "\n".join(
        [
            f"step time = {_formula(profile.execute)}",
            f"held-out steps: median error {held['median']:.1%} over {held['steps']} steps ({by_source}); "
            f"their total time {held['total_time']:+.1%}",
            f"engine's own time a step with one sequence: schedule {_base(profile.schedule):.2f} ms, "
            f"complete {_base(profile.complete):.2f} ms, return {_base(profile.return_):.2f} ms",
            f"capacity: {capacity['requests_per_s']:.1f} requests/s of {capacity['traffic']}; the machine's speed "
            f"varied by {profile.conditions['speed_drift']:.2f} times meanwhile, and is divided out by a probe",
        ]
    )


def _formula(terms: CostTerms) -> str:
    constant = sum(t.coefficient_ms for t in terms.terms if t.feature == "one")
    parts = [f"{constant:.2f} ms"]
    for t in terms.terms:
        if t.feature != "one":
            until = "" if t.high is None else f" up to {t.high:g}"
            beyond = f" beyond {t.low:g}" if t.low else ""
            parts.append(f"{t.coefficient_ms * 1e3:.3g} us/{t.feature}{beyond}{until}")
    return "\n          + ".join(parts)


def _base(terms: CostTerms) -> float:
    return sum(t.coefficient_ms for t in terms.terms if t.feature in ("one", "num_seqs"))

"""From shares of the difference to what to fix: a sentence or three for each cause that matters."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from calibration.speed import pace
from calibration.substitution.engines import Difference
from calibration.substitution.explanation import HEADLINE, Explanation, Row
from calibration.substitution.factors import Factor
from calibration.substitution.resimulate import Resimulation
from records.profile import STEP_KINDS, Profile
from records.run import RunRecord

LEAST_PART = 0.1
"""Of the difference in a measure: what has less is not called a cause of it."""
MOST_PART = 1.5
"""Beyond it, a percentage says little: parts have offset each other."""
LEAST_ERROR = 0.005
"""Of the measured value: a smaller share is no cause worth a repair."""
LEAST_DRIFT = 0.03


class Cause(NamedTuple):
    """weight: its shares of mean TTFT, TPOT and E2E, each relative to the measured value, summed."""

    factor: Factor
    weight: float
    text: str


def causes(found: Explanation, profile: Profile) -> list[Cause]:
    """The largest first. profile: as the simulation used it."""
    rows = [found.row(*measure) for measure in HEADLINE]
    named = []
    for factor in Factor:
        concerned = [row for row in rows if _matters(row, factor)]
        if concerned:
            shares = ", ".join(_share(row, factor) for row in concerned)
            text = f"{factor.label}: {shares}. {_WHY[factor](found.resimulations, profile)}"
            named.append(Cause(factor, _weight(rows, factor), text))
    return sorted(named, key=lambda cause: -cause.weight)


def verdict(found: Explanation, named: Sequence[Cause]) -> str:
    rows = [found.row(*measure) for measure in HEADLINE]
    if all(row.inside_noise for row in rows):
        return "Nothing to explain: every difference is inside the noise of the measured repeats."
    text = f"Fix first: {named[0].factor.label}. " if named else "Nothing to fix: no part has a share that matters. "
    if not any(row.rest for row in found.rows):
        return f"{text}With everything as measured, the simulation is the measured run, to the nanosecond."
    worst = max(rows, key=lambda row: abs(row.rest / row.measured) if row.measured else 0)
    return (
        f"{text}With everything as measured, {found.same_batches:.1%} of the simulated steps hold the measured batch, "
        f"and {worst.measure}, the worst, is off by {abs(float(worst.rest / worst.measured)):.2%}."
    )


def _matters(row: Row, factor: Factor) -> bool:
    seconds, noise, *_ = row.shares[factor]
    share = abs(seconds)
    if row.inside_noise or not row.measured or (noise is not None and share <= noise):
        return False
    return abs(row.part(factor)) >= LEAST_PART and share / row.measured >= LEAST_ERROR


def _weight(rows: Sequence[Row], factor: Factor) -> float:
    means = [row for row in rows if row.measure.statistic == "mean" and row.measured]
    return float(sum(abs(row.shares[factor].seconds) / row.measured for row in means))


def _share(row: Row, factor: Factor) -> str:
    own, whole, part = float(row.shares[factor].seconds) * 1e3, float(row.error) * 1e3, row.part(factor)
    if 0 < part <= MOST_PART:
        return f"{row.measure} {own:+.3g} of {whole:+.3g} ms ({part:.0%})"
    return f"{row.measure} {own:+.3g} ms, offset by other parts ({whole:+.3g} ms together)"


def _step_model(runs: Sequence[Resimulation], profile: Profile) -> str:
    steps = [run.steps for run in runs]
    measured = np.concatenate([s.execute for s in steps]).astype(float)
    predicted = np.array([times.execute for s in steps for times in s.predicted], dtype=float)
    kinds = np.array([kind for s in steps for kind in s.kinds])
    gaps = {kind: float((measured - predicted)[kinds == kind].sum()) for kind in STEP_KINDS if (kinds == kind).any()}
    told = [
        f"{kind} {_apart(measured[kinds == kind].sum(), predicted[kinds == kind].sum())}"
        for kind in sorted(gaps, key=lambda kind: -abs(gaps[kind]))
    ]
    slower = float(measured.sum() / predicted.sum())
    return f"Against their prediction, steps take, by kind: {', '.join(told)}. {_remedy(runs, profile, slower)}"


def _remedy(runs: Sequence[Resimulation], profile: Profile, slower: float) -> str:
    probes = [run.measured.manifest.conditions.get("probe_ms") for run in runs]
    if profile.probe and all(isinstance(probe, float) for probe in probes):
        drift = pace(profile, sum(map(float, probes)) / len(probes)).fixed  # type: ignore[arg-type]
        if abs(drift - 1) > LEAST_DRIFT and abs(slower / drift - 1) < abs(slower - 1) / 2:
            return (
                f"By the machine's probe steps take {drift:.2f} times as long as at calibration: simulate with "
                f"--speed-of {runs[0].measured.folder}, or calibrate again."
            )
    outside = [np.array([bool(run.predicted.outside_hull(step)) for step in run.steps.features]) for run in runs]
    beyond = sum(int(run.steps.execute[o].sum()) for run, o in zip(runs, outside, strict=True))
    share = beyond / sum(int(run.steps.execute.sum()) for run in runs)
    if share > LEAST_PART:
        names = sorted(
            {name for run in runs for step in run.steps.features for name in run.predicted.outside_hull(step)}
        )
        return (
            f"{share:.0%} of the measured step time lies outside the batches of the calibration ({', '.join(names)}): "
            f"calibrate with batches as large as these."
        )
    return "Calibrate again: servetwin calibrate."


def _host_costs(runs: Sequence[Resimulation], profile: Profile) -> str:
    measured = np.concatenate([run.steps.schedule + run.steps.complete for run in runs]) / 1e6
    predicted = np.array([t.schedule + t.complete for run in runs for t in run.steps.predicted]) / 1e6
    kinds = np.array([kind for run in runs for kind in run.steps.kinds])
    told = [
        f"{kind} {measured[kinds == kind].mean():.3g} ({predicted[kinds == kind].mean():.3g} predicted)"
        for kind in STEP_KINDS
        if (kinds == kind).any()
    ]
    return (
        f"To schedule, prepare and complete a step the engine takes, in ms by kind: {', '.join(told)}; at most "
        f"{measured.max():.3g}. Calibrate again, with server and load generator alive as they were."
    )


def _state(runs: Sequence[Resimulation], profile: Profile) -> str:
    pool, simulated, measured = runs[0].pool, runs[0].simulated.requests, runs[0].measured.requests
    return (
        f"{_engine(pool)}Most blocks in use: {_most_blocks(runs[0].measured)} measured, "
        f"{_most_blocks(runs[0].simulated)} simulated; preemptions: {_sum(measured, 'num_preemptions')} and "
        f"{_sum(simulated, 'num_preemptions')}; prompt tokens from the prefix cache: "
        f"{_sum(measured, 'num_cached')} and {_sum(simulated, 'num_cached')}. Simulate with "
        f"{' '.join(difference.option for difference in pool) or 'the measured pool'}."
    )


def _scheduler(runs: Sequence[Resimulation], profile: Profile) -> str:
    rules, first = runs[0].rules, runs[0].differs_in_rules
    if first is not None:
        return (
            f"The measured engine does not decide by the rules of its manifest ({first}). See servetwin replay "
            f"{runs[0].measured.folder}; the simulation needs its policy and settings."
        )
    if not rules:
        return "The rules are the same: other times led to other batches. Leave --batches sequence out to see which."
    options = " ".join(difference.option for difference in rules)
    return f"{_engine(rules)}Simulate with {options}."


def _arrival(runs: Sequence[Resimulation], profile: Profile) -> str:
    late = [np.array(list(run.late.values()), dtype=float) for run in runs]
    return (
        f"Requests reach the engine {_ms([float(own.mean()) for own in late])} ms after they are due, at most "
        f"{_ms([float(own.max()) for own in late])} ms. Give the load generator a processor of its own; what an idle "
        f"engine takes to wake up, calibrate."
    )


def _return(runs: Sequence[Resimulation], profile: Profile) -> str:
    measured = [float(run.steps.return_[run.steps.delivers].mean()) for run in runs if run.steps.delivers.any()]
    predicted = [float(np.mean([times.return_ for times in run.steps.predicted])) for run in runs]
    return (
        f"Tokens take {_ms(measured)} ms from the host to the client; {_ms(predicted)} ms predicted. Calibrate the way "
        f"that this client takes (detokenizer, HTTP stream), or make it faster."
    )


_WHY: Mapping[Factor, Callable[[Sequence[Resimulation], Profile], str]] = {
    Factor.STEP: _step_model,
    Factor.HOST: _host_costs,
    Factor.STATE: _state,
    Factor.BATCH: _scheduler,
    Factor.ARRIVAL: _arrival,
    Factor.RETURN: _return,
}


def _apart(measured: float, predicted: float) -> str:
    relative = measured / predicted - 1 if predicted else float("inf")
    return f"{abs(relative):.0%} {'longer' if relative > 0 else 'less'}"


def _ms(nanoseconds: Sequence[float]) -> str:
    return f"{sum(nanoseconds) / len(nanoseconds) / 1e6:.3g}" if nanoseconds else "0"


def _most_blocks(run: RunRecord) -> int:
    steps = run.steps
    used = steps["kv_total"] - steps["kv_free"] - steps["kv_cached_idle"]
    return int(used.max()) // int(run.manifest.engine.settings["block_size"])


def _sum(requests: pd.DataFrame, column: str) -> int:
    return int(requests[column].sum())


def _engine(differences: Sequence[Difference]) -> str:
    return f"The measured engine has {'; '.join(map(str, differences))}. " if differences else ""

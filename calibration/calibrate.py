"""From a warm engine to a profile: measure designed batches and served requests in turn, fit, check on held-out runs.

All that is measured runs as it will online: same loop, same threads, load generator and consumer alive. First a pilot,
each batch of a grid once, and requests that are all there at once, for capacity. They say which steps the workload will
run, and which batches tell most about those (experiment.py). These are measured in rounds, between runs that serve
requests at several loads. All times are put on one speed, divided by what the probe took around them, because the
machine drifts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, fit, predict
from calibration.fitted import Told, chosen, profile_of, quick, together, warm
from calibration.measuring.batches import CONTINUED, BatchShape, drawn, fits, grid, plan_of
from calibration.measuring.capacity import capacity_of
from calibration.measuring.experiment import mean_variance, picks
from calibration.measuring.region import region
from calibration.measuring.session import Session, check_machine
from calibration.measuring.traffic import AZURE_CONVERSATION, Traffic
from records.cost_terms import CostTerms
from records.profile import Profile
from serving.cost import StepFeatures, features
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig

PILOT_SHARE = 0.2
SATURATED_SHARE = 0.12
DESIGNED_SHARE = 0.3
ROUNDS = (("vllm", 0.5), ("nano-vllm", 0.7), ("vllm", 0.85))
"""Preset and share of capacity of what is served after each third of the designed batches."""
SERVED = tuple(f"{preset} at {load:g}" for preset, load in ROUNDS)
"""Labels of the runs that serve requests."""
SATURATED = "saturated"
"""Label of the run whose requests are all there at once."""
POOR = 0.08
"""Mean relative error on held-out runs from which on a calibration is called poor."""
DRAWN = 80
RATE_BEFORE_CAPACITY = 10.0


@dataclass(frozen=True)
class Calibration:
    """samples: every measured step, one row each; calibration/measuring/session.py says of what."""

    profile: Profile
    samples: pd.DataFrame


Say = Callable[[str], None]


def calibrate(
    runner: Any,
    config: EngineConfig,
    budget_s: float,
    seed: int = 0,
    traffic: Traffic = AZURE_CONVERSATION,
    say: Say = lambda text: None,
    progress: Callable[[float], None] = lambda seconds: None,
) -> Calibration:
    """budget_s: seconds to measure for. traffic: what the online part serves, and capacity is stated for.

    Errors: MeasurementError where the machine or the budget does not allow a sound measurement.
    """
    if not budget_s > 0:
        raise MeasurementError(f"the budget is {budget_s} s; give the seconds to measure for")
    session = Session(runner, config, traffic, seed)
    shapes = grid(config, seed)
    say(f"pilot: {len(shapes)} batches, decode, prefill, mixed and behind a cached prefix, once each")
    order = Random(seed).sample(range(len(shapes)), len(shapes))
    pilot_s = PILOT_SHARE * budget_s
    pilot = session.designed("pilot", shapes, cycle(order), pilot_s, RATE_BEFORE_CAPACITY, len(shapes), progress)
    sizes = runner.row_sizes
    first_fit = fit(EXECUTE, warm(pilot), "execute_ms", relative=True, graph_sizes=sizes)
    guess = _guess_rate(first_fit, traffic, config)

    say("requests that are all there at once, for capacity")
    wanted = max(40, round(guess * SATURATED_SHARE * budget_s))
    saturated, burst = session.served(SATURATED, "vllm", None, wanted)
    wake_ups = burst.wake_ups()
    lateness: list[int] = []  # of requests that do not all come at once
    spent = (PILOT_SHARE + SATURATED_SHARE) * budget_s
    progress(spent)
    known, exponents = together([pilot, saturated], SERVED, sizes)
    told = Told(runner, config, guess, traffic, lateness, wake_ups, runner.probe_host_link(), exponents)
    first = profile_of(told, known, quick(known, sizes))
    told = replace(told, capacity=capacity_of(first, config, traffic, burst, seed))

    designed_s = DESIGNED_SHARE * budget_s
    shapes, picked, promise = _experiment(first, config, traffic, told.capacity, designed_s, shapes, pilot, seed)
    say(f"{len(ROUNDS)} rounds: {len(picked)} batches that tell most of this traffic, then requests; {promise}")
    runs = [pilot, saturated]
    Random(seed).shuffle(picked)
    designed_s /= len(ROUNDS)
    served_s = budget_s * (1 - PILOT_SHARE - SATURATED_SHARE - DESIGNED_SHARE) / len(ROUNDS)
    waiting = cycle(picked)
    for k, (served_run, (preset, load)) in enumerate(zip(SERVED, ROUNDS, strict=True)):
        rate = load * told.capacity

        def passed(seconds: float, spent: float = spent) -> None:
            progress(spent + seconds)

        runs.append(session.designed(f"designed {k}", shapes, waiting, designed_s, rate, progress=passed))
        rows, served = session.served(served_run, preset, rate, max(20, round(rate * served_s)))
        runs.append(rows)
        wake_ups = [*wake_ups, *served.wake_ups()]
        lateness = [*lateness, *served.lateness]
        spent += designed_s + served_s
        progress(spent)
    samples, exponents = together(runs, SERVED, sizes)
    check_machine(samples)
    say("fit: which form predicts whole runs best, and how sure its coefficients are")
    execution = chosen(samples, sizes, runner.conditions["device"] == "cpu", seed)
    error = (execution.held_out or {}).get("error", 0.0)
    if error > POOR:
        say(
            f"a poor calibration: runs that the fit has not seen are predicted with an error of {error:.0%}, where "
            f"5 % is usual; the machine's speed changed in a way that its probe does not show: calibrate again"
        )
    told = replace(told, lateness=lateness, wake_ups=wake_ups, exponents=exponents)
    return Calibration(profile_of(told, samples, execution), samples)


def _experiment(
    profile: Profile,
    config: EngineConfig,
    traffic: Traffic,
    capacity: float,
    budget_s: float,
    pilot_shapes: list[BatchShape],
    pilot: pd.DataFrame,
    seed: int,
) -> tuple[list[BatchShape], list[int], str]:
    """Batches, those of them to measure, and what that promises."""
    sizes = profile.graph_sizes
    likely = region(profile, config, traffic, capacity, seed)
    shapes = [*pilot_shapes, *drawn(config, seed, DRAWN), *(s for s in likely[::5] if fits(s, config))]

    def rows(of: list[BatchShape]) -> tuple[np.ndarray, np.ndarray]:
        """Terms over the predicted time [steps, terms]; predicted milliseconds."""
        frame = pd.DataFrame([features(plan_of(s, 0, config.block_size, ()))._asdict() for s in of])
        expected = predict(profile.execute, frame, sizes)
        return np.stack([b.column(frame, sizes) for b in EXECUTE], axis=1) / expected[:, None], expected

    candidates, expected = rows(shapes)
    steps = np.array([1 if s.prefills else 1 + CONTINUED for s in shapes])
    wanted, _ = rows(likely)
    pilot = warm(pilot)
    known = np.stack([b.column(pilot, sizes) for b in EXECUTE], axis=1)
    known = known / predict(profile.execute, pilot, sizes)[:, None]
    picked = picks(candidates, steps * expected / 1e3, wanted, known, budget_s)
    before = mean_variance(wanted, known)
    after = mean_variance(wanted, np.concatenate([known, candidates[picked]]))
    promise = f"the variance of its predictions falls to {after / before:.0%}"
    return shapes, picked, promise


def _guess_rate(terms: CostTerms, traffic: Traffic, config: EngineConfig) -> float:
    """Requests per second that the first fit promises for the mean request with half the seats taken."""
    prompt, output = traffic.mean_lengths()
    seqs = config.max_num_seqs // 2
    mixed = dict.fromkeys(StepFeatures.names(), 0.0) | {
        "num_seqs": seqs,
        "num_tokens": seqs * (1 + prompt / output),
        "num_sampled": seqs,
        "prefill_pairs": seqs / output * prompt**2 / 2,
        "decode_context": seqs * (prompt + output / 2),
        "num_prefill_seqs": seqs / output,
    }
    step_ms = float(predict(terms, pd.DataFrame([mixed]))[0])
    return seqs / output / (step_ms / 1e3)

"""Kernel times of one layer, as LLMServingSim's profiler writes them, with a model of what they leave out.

    dense.csv          layer, tokens, time_us                                      -> rows of a step (num_tokens)
    attention.csv      prefill_chunk, kv_prefill, n_decode, kv_decode, time_us     -> the steps that are fitted
    per_sequence.csv   layer, sequences, time_us (LM head, sampler)                -> num_seqs
    moe.csv            tokens, activated_experts, time_us                          -> num_tokens
    skew.csv           attention with contexts of unlike length                    -> attention of several decodes
    meta.yaml          versions, device

PATH is a TOML file (calibration/kernel_profile/setting.py) that names the folder of the tables and says what they
cannot: layers, parallelism, settings and KV pool of the engine. docs/calibrating-from-kernels.md has the whole of it.
"""

from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from calibration.fit import predict
from calibration.kernel_profile.compose import compose, kernels_per_layer, timed
from calibration.kernel_profile.host import HostTimes
from calibration.kernel_profile.setting import Setting, read_setting
from calibration.kernel_profile.tables import Tables, read_tables
from calibration.kernel_profile.terms import fit_steps, refit
from calibration.model.kinds import kinds_of
from calibration.model.model import interval
from calibration.model.residuals import by_kind, hull, relative
from calibration.sources.source import Sourced
from records.cost_terms import CostTerms, Term
from records.json_values import JsonObject
from records.profile import EngineMeasured, Profile

DRAWS = 20
HELD_OUT_SHARE = 0.2


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """Errors: MeasurementError for a setting or tables that cannot be used."""
    setting = read_setting(path)
    tables = read_tables(path.parent / setting.tables, setting.tensor_parallel)
    host = setting.host.expected()
    sizes = setting.graph_sizes
    shapes = compose(tables, setting)
    steps = timed(shapes, tables, setting, host)
    execute = fit_steps(steps, setting.config.max_num_seqs, sizes)
    left = relative(execute, steps, "execute_ms", sizes)
    schedule, complete = _overheads(host)
    draws, count = _draws(shapes, tables, setting, execute, seed), sum(1 for _ in execute.every_term())
    profile = Profile(
        name=name,
        model=setting.model.model_dump(),
        hardware={**setting.hardware, "gpu": tables.meta.get("gpu", "")},
        software={key: tables.meta[key] for key in ("vllm_version", "cuda_version") if key in tables.meta},
        conditions={
            "kernels": "of one layer, eager, each alone",
            "profiled_at": tables.meta.get("profiled_at", ""),
            "tensor_parallel": setting.tensor_parallel,
            "expert_parallel": setting.expert_parallel,
            "kernels_per_layer": kernels_per_layer(tables),
            "priors": setting.host.model_dump(),
        },
        execute=execute.with_intervals(interval(np.array([draw[:count] for draw in draws]))),
        schedule=schedule,
        complete=complete,
        return_=CostTerms(terms=()),
        graph_sizes=sizes,
        draws=draws,
        residual=by_kind(left, kinds_of(steps)),
        hull=hull(steps),
        kv=setting.kv,
        held_out=_held_out(steps, execute, sizes, seed),
        engine=EngineMeasured(preset=setting.preset, settings=setting.engine),
        source=setting.source,
    )
    return Sourced(profile, steps, _notes(setting, profile))


def _overheads(host: HostTimes) -> tuple[CostTerms, CostTerms]:
    """schedule, complete"""

    def terms(call_ms: float, sequence_us: float, does: str) -> CostTerms:
        call = Term(name="call", feature="one", coefficient_ms=call_ms, meaning=f"{does}, prior")
        each = Term(name="sequence", feature="num_seqs", coefficient_ms=sequence_us / 1e3, meaning=f"{does}, prior")
        return CostTerms(terms=(call, each))

    return (
        terms(host.schedule_ms, host.schedule_us_per_seq, "scheduling and preparing"),
        terms(host.complete_ms, host.complete_us_per_seq, "taking in the tokens"),
    )


def _draws(
    shapes: pd.DataFrame, tables: Tables, setting: Setting, form: CostTerms, seed: int
) -> tuple[tuple[float, ...], ...]:
    """Rows of the attention table drawn again, beside priors drawn from their ranges."""
    random, rows = Random(seed), np.random.default_rng(seed)
    sizes = setting.graph_sizes
    draws = []
    for _ in range(DRAWS):
        host = setting.host.drawn(random)
        chosen = shapes.iloc[rows.integers(len(shapes), size=len(shapes))]
        execute = refit(timed(chosen, tables, setting, host), form, sizes)
        rest = [t.coefficient_ms for duration in _overheads(host) for t in duration.every_term()]
        draws.append((*execute, *rest))
    return tuple(draws)


def _held_out(steps: pd.DataFrame, form: CostTerms, sizes: tuple[int, ...], seed: int) -> JsonObject:
    """Errors on a fifth of the batches (a chunk beside so many sequences), whole, that a second fit did not see."""
    batch = steps["prefill_tokens"] * 10_000 + steps["num_seqs"]
    batches = sorted(batch.unique())
    chosen = batch.isin(Random(seed).sample(batches, round(HELD_OUT_SHARE * len(batches)))).to_numpy()
    fitted = form.with_coefficients(refit(steps[~chosen], form, sizes))
    seen = steps[chosen]
    error = predict(fitted, seen, sizes) / seen["execute_ms"].to_numpy() - 1
    return {
        "steps": len(seen),
        "median": float(np.median(np.abs(error))),
        "p90": float(np.quantile(np.abs(error), 0.9)),
        "mean": float(error.mean()),
    }


def _notes(setting: Setting, profile: Profile) -> tuple[str, ...]:
    errors = "; ".join(f"{kind} {noise.relative_p50_abs:.1%}" for kind, noise in profile.residual.items())
    notes = [
        f"The form misses the composed steps by (median): {errors}.",
        "What kernels leave out (launches, gaps, the host) is priors with ranges, not measured; the draws hold them.",
        f"Fitted for contexts of {setting.shortest} to {setting.longest} tokens, {setting.pool_tokens} in all decodes.",
    ]
    if setting.tensor_parallel > 1 or setting.expert_parallel > 1:
        notes.append("The tables hold no exchange between GPUs: its time is a prior, the widest of all.")
    if setting.expert_parallel > 1:
        notes.append("One replica of several that share experts, each as busy: simulate them in lockstep.")
    return tuple(notes)

"""KIND "steps": a log of steps with the features of each batch, as instrumented vLLM schedulers write them.

PATH is a folder with steps.csv.gz (or steps.csv) and vllm_metadata.json. How the log's columns become ours:

    num_prefill_seqs   num_prefill_requests; one of which a single token is left counts, which our features would call
                       decode-shaped: the log does not tell
    num_seqs           num_prefill_requests + num_decode_requests
    num_sampled        num_seqs; that the last chunk alone of a prompt samples, the log does not say
    prefill_tokens     sum_prefill_tokens
    num_tokens         sum_prefill_tokens + num_decode_requests
    prefill_context    sum_prefill_kv_tokens
    prefill_pairs      exact for one prefill of T tokens behind K stored ones: K T + T (T + 1) / 2. For n, with V of
                       var_prefill_length (the population's variance, of whole prompts, not of chunks):
                       K T / n + (S + T) / 2, where S, the sum of squares, is T^2 / n + n V, at most that of
                       one long chunk beside n - 1 single tokens
    decode_context     sum_decode_kv_tokens + num_decode_requests: the log counts what is stored before the step
    execute            latency_ms: the whole step, the engine's own work included; schedule, complete, return: none

var_decode_kv_tokens and what is queued have no place in our features, and are not used.

A gap in counter_id begins a run. Runs whose largest batches are about as large (in powers of two) did the same load:
they are held out together, since a run alone would find its twin among what was fitted.

A step noted as far shorter than steps that do less in every respect was noted with the step before it, whose time then
holds both (an engine that schedules ahead): both are left out.

A step that only decodes right behind one with a prefill takes up to half as long again (launches wait for the prefill
to end). The runs of a sweep are short, so it is one in seven of their decodes, in traffic one in dozens: left out, too;
how much longer it takes is in the profile's conditions.

Where the log has steps of more tokens than the metadata's max_num_batched_tokens, the metadata's limits were not those
of the engine: the budget is then the most tokens seen, and the captured sizes go up to vLLM's default, 512.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.model.model import coefficients, fit_model
from calibration.model.residuals import hull, relative
from calibration.sources.source import Sourced
from records.cost_terms import CostTerms
from records.profile import EngineMeasured, KVCapacity, Profile
from serving.cost import StepFeatures
from serving.errors import MeasurementError

NEEDED = (
    "sum_prefill_tokens",
    "num_prefill_requests",
    "sum_prefill_kv_tokens",
    "var_prefill_length",
    "num_decode_requests",
    "sum_decode_kv_tokens",
    "latency_ms",
)
SETTINGS = {
    "scheduler_config.max_num_seqs": "max_num_seqs",
    "scheduler_config.max_num_batched_tokens": "max_num_batched_tokens",
    "model_config.max_model_len": "max_model_len",
    "cache_config.block_size": "block_size",
    "cache_config.enable_prefix_caching": "enable_prefix_caching",
}
"""A key of effective_config in the metadata -> the engine's setting."""
GREATEST_CAPTURED = 512
TOO_SHORT = 0.5
FEWEST_LESSER = 5
FEWEST_LOADS = 3
FEWEST_RUNS = 8
STRETCHES = 20


@dataclass(frozen=True)
class StepLog:
    """samples: every step. whole: those to fit. settings, graph_sizes: of the engine; notes: what to know of them."""

    metadata: Mapping[str, Any]
    samples: pd.DataFrame
    whole: pd.DataFrame
    settings: dict[str, Any]
    graph_sizes: tuple[int, ...]
    notes: tuple[str, ...]
    sha256: str


def read_steps(path: Path) -> StepLog:
    """Errors: MeasurementError naming the file and what is missing in it."""
    log, digest = read_log(path)
    metadata = _metadata(path)
    samples = samples_of(log)
    whole = samples[~samples["displaced"] & ~samples["behind_prefill"]].reset_index(drop=True)
    settings, sizes, notes = _engine(metadata, int(samples["num_tokens"].max()))
    if displaced := int(samples["displaced"].sum()):
        notes.append(f"{displaced} of {len(samples)} steps were noted in pairs, at one of two steps: left out")
    return StepLog(metadata, samples, whole, settings, sizes, tuple(notes), digest)


def profile_from(path: Path, name: str, seed: int, form: str | None = None) -> Sourced:
    """seed: of the bootstrap. form: of calibration/model/forms.py; None: what cross-validation on this log chooses.

    Errors: MeasurementError naming the file and what is missing in it.
    """
    log = read_steps(path)
    samples, sizes, effective = log.samples, log.graph_sizes, log.metadata["effective_config"]
    fitted = fit_model(log.whole, "execute_ms", "load", runs="run", graph_sizes=sizes, form=form, seed=seed)
    behind = samples[samples["behind_prefill"]]
    excess = float(np.median(relative(fitted.cost, behind, "execute_ms", sizes))) if len(behind) else None
    held = int((samples["prefill_tokens"] + samples["prefill_context"] + samples["decode_context"]).max())
    block_size = int(log.settings.get("block_size", 16))
    none = CostTerms(terms=())
    profile = Profile(
        name=name,
        model={
            "name": log.metadata["requested"]["deployment_config"]["model"],
            "dtype": str(effective.get("model_config.dtype", "")).removeprefix("torch."),
            "max_position": effective.get("model_config.max_model_len"),
        },
        hardware={"count": int(effective.get("parallel_config.tensor_parallel_size", 1))},
        software={"vllm": effective.get("vllm_version")},
        conditions={
            "form": fitted.form,
            "displaced_steps": int(samples["displaced"].sum()),
            "decodes_behind_prefill": {"steps": len(behind), "median_excess": excess},
        },
        execute=fitted.cost,
        schedule=none,
        complete=none,
        return_=none,
        graph_sizes=sizes,
        draws=tuple(coefficients(draw) for draw in fitted.draws),
        residual=fitted.residual,
        residual_persistence=fitted.persistence,
        hull=hull(samples),
        kv=KVCapacity(num_blocks=-(-held // block_size), block_size=block_size, bytes_per_token=1),
        held_out=fitted.held_out,
        engine=EngineMeasured(preset="vllm", settings=log.settings),
        source={"kind": "steps", "folder": path.resolve().name, "sha256": log.sha256},
    )
    notes = [
        *log.notes,
        f"the log does not say how large the KV pool is: it counts as the {held} tokens that were in use at most",
        "the way of a token to the client is not in the log: TTFT and E2E end at the engine",
    ]
    if cold := int((~fitted.kept).sum()):
        notes.append(f"{cold} of {len(log.whole)} steps took far longer or shorter than their shape says: set aside")
    return Sourced(profile, samples, tuple(notes))


def read_log(path: Path) -> tuple[pd.DataFrame, str]:
    """The log's own columns, and the sha256 of the file. Errors: MeasurementError."""
    place = next((path / name for name in ("steps.csv.gz", "steps.csv") if (path / name).exists()), None)
    if place is None:
        raise MeasurementError(f"{path}: holds neither steps.csv.gz nor steps.csv; give the folder of a log of steps")
    try:
        data = place.read_bytes()
        log = pd.read_csv(place)
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{place}: cannot be read: {error}; give a CSV file with a header") from error
    missing = [column for column in NEEDED if column not in log]
    if missing:
        raise MeasurementError(f"{place}: has no column {', '.join(missing)}; each step needs {', '.join(NEEDED)}")
    for column in NEEDED:
        if not pd.api.types.is_numeric_dtype(log[column]) or not (log[column] >= 0).all():
            line = int(np.argmin(pd.to_numeric(log[column], errors="coerce").ge(0))) + 2
            raise MeasurementError(f"{place}:{line}: {column} is no number of 0 or more; correct or remove the line")
    if "dp_rank" in log and log["dp_rank"].nunique() > 1:
        raise MeasurementError(f"{place}: steps of {log['dp_rank'].nunique()} engines (dp_rank); give one engine's")
    return log, sha256(data).hexdigest()


def features_of(log: pd.DataFrame) -> pd.DataFrame:
    """Columns of StepFeatures, by the mapping above."""
    prompts, tokens = log["num_prefill_requests"], log["sum_prefill_tokens"]
    stored, decodes = log["sum_prefill_kv_tokens"], log["num_decode_requests"]
    count = np.maximum(prompts, 1)
    longest = np.maximum(tokens - count + 1, 0)
    squares = np.minimum(tokens**2 / count + count * log["var_prefill_length"], longest**2 + count - 1)
    pairs = np.where(prompts > 0, stored * tokens / count + (squares + tokens) / 2, 0)
    return pd.DataFrame(
        {
            "num_seqs": prompts + decodes,
            "num_tokens": tokens + decodes,
            "num_sampled": prompts + decodes,
            "num_prefill_seqs": prompts,
            "prefill_tokens": tokens,
            "prefill_context": stored,
            "prefill_pairs": np.rint(pairs),
            "decode_context": log["sum_decode_kv_tokens"] + decodes,
        }
    ).astype("int64")


def step_of(row: Mapping[str, float]) -> StepFeatures:
    """One step of a log. row: its columns, those of NEEDED but latency_ms."""
    found = features_of(pd.DataFrame([row])).iloc[0]
    return StepFeatures(*(int(found[name]) for name in StepFeatures.names()))


def samples_of(log: pd.DataFrame) -> pd.DataFrame:
    """Features, execute_ms, run, load, displaced, behind_prefill; without steps of no tokens, or no time."""
    samples = features_of(log)
    samples["execute_ms"] = log["latency_ms"].astype(float)
    counter = log["counter_id"] if "counter_id" in log else pd.Series(np.arange(len(log)))
    samples["run"] = (counter.diff() != 1).cumsum()
    samples = samples[(samples["num_tokens"] > 0) & (samples["execute_ms"] > 0)].reset_index(drop=True)
    samples["displaced"] = displaced(samples)
    prefills = samples["num_prefill_seqs"] > 0
    same_run = samples["run"].diff() == 0
    samples["behind_prefill"] = ~prefills & prefills.shift(fill_value=False) & same_run
    largest = samples.groupby("run")["num_seqs"].transform("max")
    decodes = samples.groupby("run")["decode_context"].transform("max") > 0
    samples["load"] = np.where(decodes, 2 ** np.ceil(np.log2(largest)), 0).astype(int)
    stretch = np.arange(len(samples)) * STRETCHES // max(1, len(samples))
    for column, fewest in (("load", FEWEST_LOADS), ("run", FEWEST_RUNS)):
        if samples[column].nunique() < fewest:
            samples[column] = stretch
    return samples


def displaced(samples: pd.DataFrame) -> np.ndarray:
    """shape [samples]: steps that were noted far too short, and those before them in their run."""
    work = samples[list(StepFeatures.names())].to_numpy()
    tokens = samples["num_tokens"].to_numpy()
    took = samples["execute_ms"].to_numpy()
    order = np.argsort(took)
    short = np.zeros(len(samples), dtype=bool)
    for place in order[: len(order) // 2]:
        lesser = took[(work <= work[place]).all(axis=1) & (tokens < tokens[place])]
        short[place] = len(lesser) >= FEWEST_LESSER and took[place] < TOO_SHORT * np.median(lesser)
    run = samples["run"].to_numpy()
    before = np.zeros_like(short)
    before[:-1] = short[1:] & (run[1:] == run[:-1])
    return short | before


def _metadata(path: Path) -> dict[str, Any]:
    place = path / "vllm_metadata.json"
    try:
        found = json.loads(place.read_bytes())
        found["effective_config"]["scheduler_config.max_num_seqs"]
        found["requested"]["deployment_config"]["model"]
    except OSError as error:
        raise MeasurementError(
            f"{place}: cannot be read: {error.strerror or error}; it says what was measured"
        ) from error
    except (ValueError, TypeError) as error:
        raise MeasurementError(f"{place}: not the JSON of a measurement ({error})") from error
    except KeyError as error:
        raise MeasurementError(
            f"{place}: has no {error}; it needs effective_config with scheduler_config.max_num_seqs, and "
            f"requested.deployment_config.model"
        ) from error
    return dict(found)


def _engine(metadata: Mapping[str, Any], most_tokens: int) -> tuple[dict[str, Any], tuple[int, ...], list[str]]:
    """Settings, captured sizes, and what to know of them. most_tokens: of a step in the log."""
    effective, requested = metadata["effective_config"], metadata["requested"]["deployment_config"]
    settings = {ours: effective[theirs] for theirs, ours in SETTINGS.items() if effective.get(theirs) is not None}
    settings["async_scheduling"] = not requested.get("no_async_scheduling", False)
    notes = []
    greatest = min(GREATEST_CAPTURED, 2 * int(settings["max_num_seqs"]))
    stated = settings.get("max_num_batched_tokens", 0)
    if most_tokens > stated:
        settings["max_num_batched_tokens"] = most_tokens
        greatest = GREATEST_CAPTURED
        notes.append(
            f"steps of {most_tokens} tokens, where the metadata says max_num_batched_tokens {stated}: its limits were "
            f"not the engine's; the budget counts as {most_tokens}, captured sizes as up to {greatest}"
        )
    captured = effective.get("compilation_config.cudagraph_capture_sizes")
    if requested.get("enforce_eager") or effective.get("compilation_config.cudagraph_mode") == "NONE":
        return settings, (), notes
    return settings, tuple(sorted(captured)) if captured else tuple(_default_sizes(greatest)), notes


def _default_sizes(greatest: int) -> Iterator[int]:
    """As vLLM captures them where nothing is stated (vllm/config/vllm.py)."""
    yield from (size for size in (1, 2, 4, *range(8, 256, 8), *range(256, greatest + 1, 16)) if size <= greatest)

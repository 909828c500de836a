"""KIND "step-log": the log that docs/examples/vllm_step_log.py, a scheduler of vLLM, writes: JSONL, a step a line.

How its columns become ours, i being the step's place in the log:

    batch      the features of serving/cost.py; a sequence samples if its tokens in KV and those computed are all that
               are known of it
    schedule   from schedule_s to scheduled_s
    execute    from launch to done_s; launch is scheduled_s, or done_s of the step before where that is later (a step
               that was scheduled while another was in flight)
    complete   from done_s until schedule_s of the next step where a request of this step is in it, so the engine had
               work; else, and where that came before, until updated_s
    return     not in the log: the way to the client is the frontend's. None in the profile.

Engine, KV pool and sizes of captured graphs are in the first line.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from calibration.model.residuals import hull
from calibration.sources.source import Sourced
from calibration.sources.step_fit import fit_host, fit_steps
from records.cost_terms import CostTerms
from records.json_values import explain
from records.profile import EngineMeasured, KVCapacity, Profile
from serving.cost import StepFeatures, features_of
from serving.errors import MeasurementError

FORMAT = "servetwin.vllm-steps/1"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


L = TypeVar("L", bound=_Line)


class Engine(_Line):
    """The first line; docs/examples/vllm_step_log.py says what is what."""

    format: str
    vllm: str
    model: str
    dtype: str
    max_position: int
    tensor_parallel_size: int
    device: str
    settings: dict[str, Any]
    graph_sizes: tuple[int, ...] = ()
    kv: KVCapacity


class Step(_Line):
    """Any other line."""

    batch: Mapping[str, tuple[int, int, int]]
    schedule_s: float
    scheduled_s: float
    done_s: float
    updated_s: float


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """Errors: MeasurementError naming file, line and what is missing there."""
    engine, steps, digest = _read(path)
    samples = pd.DataFrame(_rows(steps))
    found = fit_steps(samples, seed, str(path))
    schedule, complete = (fit_host(samples, f"{duration}_ms", str(path)) for duration in ("schedule", "complete"))
    host = tuple(t.coefficient_ms for duration in (schedule, complete) for t in duration.terms)
    profile = Profile(
        name=name,
        model={"name": engine.model, "dtype": engine.dtype, "max_position": engine.max_position},
        hardware={"device": engine.device, "count": engine.tensor_parallel_size},
        software={"vllm": engine.vllm},
        conditions={},
        execute=found.cost,
        schedule=schedule,
        complete=complete,
        return_=CostTerms(terms=()),
        graph_sizes=engine.graph_sizes,
        draws=tuple((*draw, *host) for draw in found.draws),
        residual=found.residual,
        hull=hull(samples),
        kv=engine.kv,
        held_out=found.held_out,
        engine=EngineMeasured(preset="vllm", settings=engine.settings),
        source={"kind": "step-log", "file": path.name, "sha256": digest},
    )
    notes = ["the way of a token to the client is not in a step log: TTFT and E2E end at the engine"]
    if found.cold:
        notes.append(f"{found.cold} of {len(samples)} steps took over three times as long as others alike: set aside")
    return Sourced(profile, samples, tuple(notes))


def _read(path: Path) -> tuple[Engine, list[Step], str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}; give the step log") from error
    lines = data.splitlines()
    if not lines:
        raise MeasurementError(f"{path}: empty; log a run with docs/examples/vllm_step_log.py")
    first = _parsed(path, 1, lines[0])
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise MeasurementError(
            f"{path}:1: not the first line of a step log (format {FORMAT!r}); "
            f"write one with docs/examples/vllm_step_log.py"
        )
    engine = _checked(path, 1, first, Engine)
    steps = [_checked(path, n, _parsed(path, n, line), Step) for n, line in enumerate(lines[1:], 2)]
    return engine, steps, sha256(data).hexdigest()


def _parsed(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise MeasurementError(f"{path}:{number}: not JSON ({error}); cut the log off before this line") from error


def _checked(path: Path, number: int, line: Any, kind: type[L]) -> L:
    try:
        return kind.model_validate(line)
    except ValidationError as error:
        raise MeasurementError(f"{path}:{number}: {explain(error, kind)}") from error


def _rows(steps: list[Step]) -> Iterator[dict[str, float]]:
    following: list[Step | None] = [*steps[1:], None]
    done = float("-inf")
    for step, after in zip(steps, following, strict=True):
        launch = max(step.scheduled_s, done)
        done = step.done_s
        ready = step.updated_s
        if after is not None and after.schedule_s > ready and not step.batch.keys().isdisjoint(after.batch):
            ready = after.schedule_s
        yield {
            **features_of_batch(step.batch)._asdict(),
            "execute_ms": (done - launch) * 1e3,
            "schedule_ms": (step.scheduled_s - step.schedule_s) * 1e3,
            "complete_ms": (ready - done) * 1e3,
        }


def features_of_batch(batch: Mapping[str, tuple[int, int, int]]) -> StepFeatures:
    """batch: request -> tokens in KV before, computed, known."""
    sampled = sum(start + n >= known for start, n, known in batch.values())
    return features_of([start for start, *_ in batch.values()], [n for _, n, _ in batch.values()], sampled)

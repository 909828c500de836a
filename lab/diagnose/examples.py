"""Runs that show a symptom, made by seed: what students of a serving course see, and what a diagnosis should say.

evening-peak      arrivals rise and fall; at their height TTFT and its P99 are both bad
short-of-memory   the same requests and steps, on a pool that is too small for their height
idle-memory       KV is far from full, yet nothing is admitted
other-runtime     the same requests on the same steps, under the rules of another engine
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from calibration.shipped import find_profile
from lab.runs import simulate_run
from records.run import RunRecord
from serving.names import known
from serving.schedule.engine import EngineSpec
from workloads.synthesize import synthesize
from workloads.workload import Workload

H100, RTX = "h100-qwen3-14b-vllm", "rtx4090-llama-3.1-8b-vllm"
LONGEST = 16384


class Example(NamedTuple):
    """other: the engine that it is held against; None: it is looked at by itself."""

    workload: Workload
    profile: str
    engine: EngineSpec
    other: EngineSpec | None = None


def _vllm(**settings: object) -> EngineSpec:
    return EngineSpec("vllm", settings={"max_model_len": LONGEST, "max_num_seqs": 256, **settings})


def _peak(**settings: object) -> Example:
    evening = "diurnal(amplitude=0.9, period_s=50)"
    drawn = synthesize(name="evening", rate=6.0, num_requests=300, seed=1, arrivals=evening, lengths="azure-conv")
    return Example(drawn, H100, _vllm(max_num_batched_tokens=8192, **settings))


def _idle_memory() -> Example:
    drawn = synthesize(name="patient", rate=1.2, num_requests=100, seed=1, lengths="azure-conv")
    accept_long_answers = tuple(replace(r, max_tokens=4096) for r in drawn.requests)
    return Example(
        Workload("patient", accept_long_answers),
        RTX,
        EngineSpec("vllm", reservation="max-length", settings={"max_model_len": LONGEST}),
    )


def _other_runtime() -> Example:
    drawn = synthesize(name="chats", rate=5.0, num_requests=150, seed=1, lengths="azure-conv")
    return Example(
        drawn, H100, _vllm(), EngineSpec("nano-vllm", settings={"max_model_len": LONGEST, "max_num_seqs": 256})
    )


EXAMPLES: Mapping[str, Callable[[], Example]] = {
    "evening-peak": _peak,
    "short-of-memory": lambda: _peak(num_blocks=1600),
    "idle-memory": _idle_memory,
    "other-runtime": _other_runtime,
}


def make(name: str, folder: Path) -> list[RunRecord]:
    """The records of an example, in new folders in this one; the second is what the first is held against.

    Errors: ConfigError for an unknown name; RecordError where they cannot be written.
    """
    told = EXAMPLES[known("example", name, EXAMPLES)]()
    engines = {name: told.engine} | ({} if told.other is None else {f"{name}-other": told.other})
    profile = find_profile(Path(told.profile))
    return [simulate_run(folder / place, told.workload, profile, spec) for place, spec in engines.items()]

"""The step models of ten settings on B300 GPUs: docs/predictions/b300-steps.json, and a function that reads it.

    python -m calibration.model.published MEASURED

MEASURED is the folder with calibrate/ and check/ of the public step logs (ai-dynamo/aiconfigurator, Apache-2.0); the
command writes that file, and the profiles that come with the project, from the sweeps in calibrate/. The logs in check/
are predicted, and the errors written down; nothing is fitted to them.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.fit import predict
from calibration.model.forms import candidates
from calibration.model.kinds import kinds_of
from calibration.model.validation import chosen, cross_validate, folds, pooled
from calibration.shipped import FOLDER
from calibration.sources.dense_shape import DenseShape, Pool, pool_of
from calibration.sources.steps import profile_from, read_log, read_steps, samples_of, step_of
from records.cost_terms import CostTerms
from records.json_values import JsonObject, pretty_json
from records.profile import KVCapacity, Profile, write_profile
from serving.cost import StepFeatures
from serving.errors import ConfigError, MeasurementError
from serving.names import known

FILE = Path(__file__).parents[2] / "docs" / "predictions" / "b300-steps.json"
FORMAT = "servetwin.step-model/1"
MEMORY_BYTES = 288e9
"""Of a B300, as its datasheet says."""
QWEN3_32B = DenseShape(
    name="Qwen/Qwen3-32B",
    layers=64,
    hidden=5120,
    heads=64,
    kv_heads=8,
    head_dim=128,
    intermediate=25600,
    vocab=151936,
    max_position=40960,
)
MOE_WEIGHT_BYTES = 72e9
MOE_KV_BYTES = 20480
"""Of Qwen3.6-35B-A3B: bf16; KV of its ten layers with full attention, two heads of 256."""
HOW = (
    "milliseconds of a step = sum of execute.terms + sum of execute.overlaps.",
    "A term is coefficient_ms * (min(max(x, low), high) - low), x being its feature; high null: no bound; the feature "
    "'one' is always 1.",
    "Where padded is true, x is first raised to the least of graph_sizes that is not below it; beyond the greatest, it "
    "stays.",
    "An overlap is (a^p + b^p)^(1/p) of its sides in 'of', each a sum of terms and overlaps itself, p being its power; "
    "'max' is the greatest.",
    "The features of a step, from the columns of its log: n = num_prefill_requests, d = num_decode_requests, T = "
    "sum_prefill_tokens, K = sum_prefill_kv_tokens, V = var_prefill_length;",
    "num_seqs = num_sampled = n + d; num_tokens = T + d; num_prefill_seqs = n; prefill_tokens = T; "
    "prefill_context = K; decode_context = sum_decode_kv_tokens + d;",
    "prefill_pairs = K T / n + (S + T) / 2, rounded, with S = min(T^2 / n + n V, (T - n + 1)^2 + n - 1); "
    "0 where n is 0.",
    "In Python: calibration.model.published.milliseconds(setting, row), row being those columns, or a StepFeatures.",
)


def milliseconds(setting: str, features: StepFeatures | Mapping[str, float], place: Path = FILE) -> float:
    """What a step takes in one of the settings of the file at `place`, whose text "how" says the same in words.

    features: of a step; or a row of a log, with the columns that calibration/sources/steps.py names.

    Errors: ConfigError for a setting that is not in the file, with the nearest, or a row that lacks a column.
    """
    models = json.loads(place.read_text(encoding="utf-8"))["settings"]
    model = models[known("setting", setting, models)]
    if not isinstance(features, StepFeatures):
        try:
            features = step_of(features)
        except KeyError as error:
            raise ConfigError(f"the step has no {error}; give the columns that {FILE.name} names in how") from error
    frame = pd.DataFrame([features._asdict()])
    return float(predict(CostTerms.model_validate(model["execute"]), frame, model["graph_sizes"])[0])


def setting_name(folder: str) -> str:
    """fpm_qwen3-32b_tp4_ep1_past4096_sweep -> b300-qwen3-32b-tp4-vllm; experts in parallel are named."""
    _, model, tensor, expert, *_ = folder.split("_")
    return f"b300-{model}-{tensor}{'' if expert == 'ep1' else f'-{expert}'}-vllm"


def published(measured: Path) -> tuple[dict[str, Profile], JsonObject]:
    """Profiles by name, and the contents of the file. Errors: MeasurementError where the logs are not there."""
    sweeps = sorted(path for path in (measured / "calibrate").glob("fpm_*") if path.is_dir())
    if not sweeps:
        raise MeasurementError(f"{measured}: no folder calibrate/fpm_*; give the folder of the step logs")
    forms = _forms(sweeps)
    profiles, settings = {}, {}
    for folder in sweeps:
        name = setting_name(folder.name)
        made = profile_from(folder, name, seed=0, form=forms[_model(folder)])
        errors: JsonObject = {"sweep": errors_of(made.profile, folder)}
        check = measured / "check" / folder.name.replace("_sweep", "_real")
        if check.is_dir():
            errors["real_traffic"] = errors_of(made.profile, check)
        profiles[name] = _shipped(made.profile, folder.name, errors, made.notes)
        settings[name] = _entry(profiles[name], errors)
    contents: JsonObject = {
        "format": FORMAT,
        "how": list(HOW),
        "source": "ai-dynamo/aiconfigurator (Apache-2.0): vLLM 0.20.1 on NVIDIA B300; fitted to the controlled sweeps",
        "settings": settings,
    }
    return profiles, contents


def _model(folder: Path) -> str:
    return folder.name.split("_")[1]


def _forms(sweeps: list[Path]) -> dict[str, str]:
    """One form a model: its settings differ in how many GPUs share the work, not in what is done."""
    tables = defaultdict(list)
    for folder in sweeps:
        log = read_steps(folder)
        held = folds(log.whole["load"])
        forms = candidates(log.graph_sizes)
        tables[_model(folder)].append(cross_validate(forms, log.whole, "execute_ms", held, log.graph_sizes))
    found = {model: pooled(of_model) for model, of_model in tables.items()}
    for model, scores in found.items():
        print(model, *(f"{score.name}: {score.error:.4f} ({score.coefficients})" for score in scores), sep="\n    ")
    return {model: chosen(scores).name for model, scores in found.items()}


def errors_of(profile: Profile, folder: Path) -> JsonObject:
    """Of the predictions for a log: |predicted / measured - 1| of the median step, by kind too, and of the total time.

    warm_total_time: without steps that took more than twice, or less than half, of what is predicted.
    """
    samples = samples_of(read_log(folder)[0])
    expected = predict(profile.execute, samples, profile.graph_sizes)
    took = samples["execute_ms"].to_numpy()
    error = np.abs(expected / took - 1)
    kinds = kinds_of(samples)
    warm = np.abs(np.log2(took / expected)) < 1
    return {
        "steps": len(samples),
        "median": float(np.median(error)),
        "p90": float(np.percentile(error, 90)),
        "total_time": float(expected.sum() / took.sum() - 1),
        "warm_total_time": float(expected[warm].sum() / took[warm].sum() - 1),
        "median_by_kind": {kind: float(np.median(error[kinds == kind])) for kind in sorted(set(kinds))},
    }


def _entry(profile: Profile, errors: JsonObject) -> dict[str, Any]:
    return {
        "form": profile.conditions["form"],
        "execute": profile.execute.model_dump(mode="json"),
        "graph_sizes": list(profile.graph_sizes),
        "errors": errors,
    }


def _shipped(profile: Profile, folder: str, errors: JsonObject, notes: tuple[str, ...]) -> Profile:
    count = int(str(profile.hardware["count"]))
    kv = pool_of(Pool(), QWEN3_32B, MEMORY_BYTES, count) if "qwen3-32b" in folder else _hybrid_pool(count)
    source = {
        **(profile.source or {}),
        "measured_by": "ai-dynamo/aiconfigurator",
        "licence": "Apache-2.0",
        "errors": errors,
        "notes": [note for note in notes if "KV pool" not in note],
        "kv": "not in the log: an estimate, 0.9 of 288 GB a GPU less weights and 4 GB",
    }
    hardware: JsonObject = {**profile.hardware, "device": "NVIDIA B300"}
    return profile.model_copy(update={"kv": kv, "source": source, "hardware": hardware})


def _hybrid_pool(count: int) -> KVCapacity:
    left = count * (0.9 * MEMORY_BYTES - 4e9) - MOE_WEIGHT_BYTES
    return KVCapacity(num_blocks=int(left / MOE_KV_BYTES) // 16, block_size=16, bytes_per_token=MOE_KV_BYTES)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python -m calibration.model.published MEASURED")
    profiles, contents = published(Path(arguments[0]))
    for name, profile in profiles.items():
        write_profile(FOLDER / f"{name}.json", profile)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(pretty_json(contents))
    for name, model in contents["settings"].items():
        for log, error in model["errors"].items():
            print(
                f"{name:36} {model['form']:18} {log:13} median {error['median']:6.1%}  p90 {error['p90']:6.1%}  "
                f"total {error['total_time']:+6.1%}  warm {error['warm_total_time']:+6.1%}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])

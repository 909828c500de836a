"""servetwin predict"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import EngineOptions, Json

ENGINE = EngineOptions()


def predict(
    folder: Annotated[Path, Parameter(help="Folder of runs, each with workload.csv.gz and config.json; or one run.")],
    *,
    profile: Annotated[Path, Parameter(help="Profile, JSON, or the name of one that comes along.")],
    out: Annotated[Path, Parameter(help="CSV to write.")],
    engine: EngineOptions = ENGINE,
    force: Annotated[bool, Parameter(help="Replace a file that is already there.", negative=())] = False,
    json: Json = False,
) -> None:
    """Predict runs from their inputs alone: arrivals, lengths, settings of the engine.

    Writes a row a run and metric: ttft, tpot, e2e, and where the clock is the engine's queue and sched_to_first; n,
    mean, p50, p90, p99, and lo, hi of the 95 % interval of the run's mean (from the profile's draws of its coefficients
    and its step noise); seconds. What config.json says of the engine comes first, then what is given here, then what
    the profile was measured with.

    Example: servetwin predict --profile h100-qwen3-14b-vllm runs/ --out predictions.csv
    """
    from calibration.predict import predict as predict_runs
    from calibration.predict import read_runs
    from calibration.shipped import find_profile
    from lab.as_measured import as_measured, told
    from lab.console import print_json, say
    from records.atomic import check_parent, write_file
    from serving.errors import ConfigError

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give one that holds runs")
    if engine.predictor:
        raise ConfigError("--predictor has no effect on a prediction; leave it out")
    check_parent(out)
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; give another --out, or --force to replace it")
    found = find_profile(profile)
    runs = read_runs(folder)
    spec = as_measured(engine.given(), found.engine)
    if taken := told(engine.given(), spec, found):
        say(f"{taken}; what config.json says comes before these")
    table = predict_runs(found, runs, spec)
    write_file(out, table.to_csv(index=False, float_format="%.6g").encode())
    if json:
        print_json({"unit": "seconds", "rows": table.astype(object).where(table.notna(), None).to_dict("records")})
        return
    say(table.to_string(index=False, float_format="{:.4g}".format))
    print(f"predictions: {out}")

"""servetwin calibrate"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import ComputeOptions, Json, Model

COMPUTE = ComputeOptions()


def calibrate(
    *,
    out: Annotated[Path, Parameter(help="Profile to write, JSON; its raw samples go beside it, parquet.")],
    model: Model = "15m",
    budget: Annotated[float, Parameter(help="Seconds to measure for.")] = 60.0,
    compute: ComputeOptions = COMPUTE,
    seed: Annotated[int, Parameter(help="Seed of weights, batch design and online traffic.")] = 0,
    max_num_seqs: Annotated[int, Parameter(help="Most sequences in a measured batch.")] = 128,
    max_num_batched_tokens: Annotated[int, Parameter(help="Most tokens in a measured batch.")] = 2048,
    json: Json = False,
) -> None:
    """Measure the real engine's step times on this machine and fit a profile.

    Run it while nothing else runs. Exit code 3 where the extra 'real' (torch) is absent.

    Example: servetwin calibrate --model 15m --budget 60 --out profile.json
    """
    from lab.calibration import calibrate_to, describe
    from lab.console import print_json
    from lab.runs import load_runner
    from serving.schedule.config import EngineConfig

    measured = {"max_num_seqs": max_num_seqs, "max_num_batched_tokens": max_num_batched_tokens}
    runner = load_runner(model, measured, compute.compute(), seed)
    config = EngineConfig(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        num_blocks=runner.num_blocks,
        block_size=runner.block_size,
        max_model_len=min(EngineConfig().max_model_len, runner.shape.max_position),
    )
    profile = calibrate_to(out, runner, config, budget, seed)
    if json:
        print_json(profile.model_dump(mode="json", by_alias=True))
    else:
        print(describe(profile))
        print(f"profile: {out}")

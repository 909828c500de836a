"""servetwin calibrate"""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from calibration.sources.kinds import KINDS
from lab.options import ComputeOptions, Json

DEFAULT_MODEL = "15m"
DEFAULT_BUDGET_S = 60.0
COMPUTE = ComputeOptions()
_KINDS = "\n".join(f"* {name}: {kind.path}" for name, kind in KINDS.items())


def calibrate(
    *,
    out: Annotated[Path, Parameter(help="Profile to write, JSON; its raw samples go beside it, parquet.")],
    from_: Annotated[
        tuple[str, Path] | None,
        Parameter(
            name="--from",
            negative=(),
            help="KIND PATH. Nothing is measured; the profile is made of what others measured "
            "(docs/calibrating-from-others.md). Kinds, and what PATH is:\n\n" + _KINDS,
        ),
    ] = None,
    name: Annotated[str | None, Parameter(help="With --from: of the profile. Default: that of its file.")] = None,
    model: Annotated[
        str | None,
        Parameter(
            help="15m (default), 110m or 600m (random weights), a model that servetwin model get got, or a folder of "
            "Hugging Face."
        ),
    ] = None,
    budget: Annotated[float | None, Parameter(help="Seconds to measure for. Default 60.")] = None,
    compute: ComputeOptions = COMPUTE,
    seed: Annotated[
        int, Parameter(help="Seed of weights, batch design and online traffic; with --from, of resampling.")
    ] = 0,
    max_num_seqs: Annotated[int | None, Parameter(help="Most sequences in a measured batch. Default 128.")] = None,
    max_num_batched_tokens: Annotated[
        int | None, Parameter(help="Most tokens in a measured batch. Default 2048.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure the real engine's step times on this machine and fit a profile; or fit one to what others measured.

    Run it while nothing else runs. Exit code 3 where the extra 'real' (torch) is absent; --from needs none.

    Example: servetwin calibrate --model 15m --budget 60 --out profile.json

    Example: servetwin calibrate --from vllm-log server.log --out profile.json
    """
    from lab.calibration import calibrate_from, calibrate_to, describe
    from lab.console import print_json, say
    from lab.runs import load_runner
    from serving.errors import ConfigError
    from serving.schedule.config import EngineConfig

    sizes = {"max_num_seqs": max_num_seqs, "max_num_batched_tokens": max_num_batched_tokens}
    if from_ is not None:
        measuring = {"model": model, "budget": budget, **sizes}
        given = [f"--{option.replace('_', '-')}" for option, value in measuring.items() if value is not None]
        for option in (*given, *compute.given()):
            raise ConfigError(f"{option} has no effect with --from, which measures nothing; leave it out")
        kind, path = from_
        profile, notes = calibrate_from(out, kind, path, name or out.stem, seed)
    else:
        if name is not None:
            raise ConfigError("--name has no effect without --from; leave it out")
        most: dict[str, Any] = {option: value for option, value in sizes.items() if value is not None}
        runner = load_runner(model or DEFAULT_MODEL, most, compute.compute(), seed)
        pool = {"num_blocks": runner.num_blocks, "block_size": runner.block_size}
        longest = min(EngineConfig().max_model_len, runner.shape.max_position)
        config = EngineConfig(**most, **pool, max_model_len=longest)
        profile, notes = calibrate_to(out, runner, config, DEFAULT_BUDGET_S if budget is None else budget, seed), ()
    if json:
        for note in notes:
            say(note)
        print_json(profile.model_dump(mode="json", by_alias=True))
    else:
        print("\n".join([describe(profile), *(f"note: {note}" for note in notes), f"profile: {out}"]))

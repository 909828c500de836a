"""servetwin capacity"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json
from lab.paper import PaperOption


def capacity(
    *,
    profile: Annotated[tuple[str, ...], Parameter(help="Profiles, JSON, or names of those that come along.")],
    engines: Annotated[
        tuple[str, ...],
        Parameter(
            help="Preset, or preset/policy: vllm sarathi 'vllm/sjf(by=\"prompt\")'. Default: as each profile's "
            "engine was measured.",
            consume_multiple=True,
        ),
    ] = (),
    predictor: Annotated[
        str, Parameter(help="Who predicts output lengths, for policies that look at them: oracle, noisy(error=0.3).")
    ] = "",
    ttft: Annotated[float | None, Parameter(help="A request's TTFT must not exceed this, in seconds.")] = None,
    tpot: Annotated[float | None, Parameter(help="A request's mean TPOT must not exceed this, in seconds.")] = None,
    attainment: Annotated[
        float, Parameter(help="Share of requests that must keep these. P99 of TTFT: 0.99 with --ttft alone.")
    ] = 0.9,
    workload: Annotated[
        Path | None, Parameter(help="Workload, JSONL, sent at other rates, in place of requests that are drawn.")
    ] = None,
    requests: Annotated[int | None, Parameter(help="How many are drawn. Default 500.")] = None,
    lengths: Annotated[str | None, Parameter(help="As of servetwin workload make. Default azure-conv.")] = None,
    arrivals: Annotated[str | None, Parameter(help="As of servetwin workload make. Default poisson.")] = None,
    scale: Annotated[float | None, Parameter(help="Of lengths. Default 1.")] = None,
    tolerance: Annotated[float, Parameter(help="Between neighbouring rates that are tried, as a share.")] = 0.02,
    simulations: Annotated[int, Parameter(help="The most at one rate, each with other requests and noise.")] = 12,
    workers: Annotated[int | None, Parameter(help="Processes. Default: one a core.")] = None,
    out: Annotated[
        Path | None,
        Parameter(help="New folder for capacity.json, curve.parquet (a row a simulation) and the figure."),
    ] = None,
    paper: PaperOption = None,
    json: Json = False,
) -> None:
    """Find the highest rate at which a service level holds, for each engine on each profile, and goodput curves.

    At each rate simulations are added until the 99 % interval of the mean attainment lies on one side of the target.
    Prints requests/s: the highest rate that surely holds, the lowest that surely fails. The same rates, requests and
    noise for every engine.

    Example: servetwin capacity --profile h100-qwen3-14b-vllm --ttft 1 --tpot 0.05 --out capacity/

    Example: servetwin capacity --profile p.json --engines vllm sarathi vllm/srpt --predictor oracle --ttft 0.2
    """
    from lab.capacity.ask import entries_of, level_of, load_of, question_of
    from lab.capacity.contest import contest
    from lab.capacity.told import as_dict, print_capacity, table
    from lab.console import print_json, say
    from lab.processes import cores, processes
    from records.atomic import check_new_folder, new_folder
    from records.json_values import pretty_json
    from serving.errors import ConfigError

    if paper and out is None:
        raise ConfigError("--paper has no effect without --out; give a folder for the figure")
    if out is not None:
        check_new_folder(out)
    load = load_of(workload, requests, lengths, arrivals, scale, ttft, tpot)
    entries = entries_of(profile, engines, predictor, load)
    question = question_of(entries, load, attainment, tolerance, simulations)
    level = level_of(ttft, tpot, attainment)
    say(f"{len(entries)} searches, up to {question.effort.most} simulations at each rate")
    with processes(cores() if workers is None else workers) as pool:
        found, pairs = contest(entries, question, pool, say)
    if out is not None:
        from lab.figures_capacity import capacity_figure

        with new_folder(out) as new:
            (new / "capacity.json").write_bytes(pretty_json(as_dict(found, pairs, question, level)))
            table(found).to_parquet(new / "curve.parquet", index=False)
            figure = capacity_figure(
                new / ("capacity.pdf" if paper else "capacity.png"), found, question.target, level, paper
            )
        say(f"{out}: capacity.json, curve.parquet, {figure.name}")
    if json:
        print_json(as_dict(found, pairs, question, level))
    else:
        print_capacity(found, pairs, question, level)

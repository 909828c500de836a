"""servetwin check"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import ComputeOptions, Json, Model
from lab.paper import PaperOption

COMPUTE = ComputeOptions()


def check(
    sweep: Annotated[Path, Parameter(help="Folder of a finished sweep.")],
    /,
    *,
    top: Annotated[int, Parameter(help="How many of the best cells run.")] = 3,
    repeats: Annotated[
        int,
        Parameter(help="Runs of each cell, with the requests of the sweep's seeds in turn."),
    ] = 5,
    figure: Annotated[str, Parameter(help="By which the sweep is ranked, as in its runs.parquet.")] = "ttft.mean",
    group: Annotated[
        str | None, Parameter(help="Of cells with the same load, rate and profile; where the sweep has several.")
    ] = None,
    worst: Annotated[
        bool, Parameter(help="Run the worst cell too: it must come out worse, or the check cannot see differences.")
    ] = True,
    seed: Annotated[
        int | None, Parameter(help="One of the sweep's: all repeats have its requests. Default: each the next seed's.")
    ] = None,
    model: Model = "15m",
    compute: ComputeOptions = COMPUTE,
    weights_seed: Annotated[int | None, Parameter(help="Of random weights and the order of runs. Default 0.")] = None,
    url: Annotated[
        tuple[str, ...],
        Parameter(
            help="NAME=URL: a server (vLLM, SGLang, servetwin serve) that runs the cell of that name or rank, "
            "in place of the engine here. Once for each cell; what starts the missing ones is printed.",
            negative=(),
        ),
    ] = (),
    servers: Annotated[
        bool, Parameter(help="Cells run on servers, none of which is given yet: print what starts them.", negative=())
    ] = False,
    api_key: Annotated[str | None, Parameter(env_var="SERVETWIN_API_KEY", help="Sent to every --url.")] = None,
    out: Annotated[
        Path | None,
        Parameter(help="Folder to write; the same check goes on in it. Default: the next free runs/check-N."),
    ] = None,
    figures: Annotated[
        Path | None, Parameter(help="Folder for a figure: both worlds, cell by cell, with intervals over repeats.")
    ] = None,
    paper: PaperOption = None,
    json: Json = False,
) -> int:
    """Run the best cells of a sweep, and its worst, on hardware: did the simulated winner win?

    The same requests at the same times as in the sweep, in a new random order of cells in every repeat; then each run
    is simulated at the speed that the machine had. Prints whether the winner won, lost to another, or cannot be told
    from it, and how far both worlds rank alike: Kendall's tau, signs of differences, regret. Times in milliseconds.

    Takes as long as the arrivals of all runs; interrupted, the same command goes on. The sweep's profile must be of
    this machine and model (servetwin calibrate), or servers run the cells (--url). See docs/checking-on-hardware.md.

    Exit code 1 if the winner clearly lost, 3 where torch or a cell's server is absent. To hold a run record against the
    laws of queueing: servetwin laws.

    Example: servetwin check sweep/ --top 3 --repeats 5 --out check/

    Example: servetwin check sweep/ --top 2 --no-worst --url 1=http://127.0.0.1:8001 --url 2=http://127.0.0.1:8002
    """
    from lab.console import print_json
    from lab.hardware_check.check import Asked, check_sweep
    from lab.hardware_check.contest import figure_to_check
    from lab.hardware_check.plan import next_free
    from lab.hardware_check.swept import read_standing
    from lab.hardware_check.tables import print_check
    from serving.errors import ConfigError

    if paper and figures is None:
        raise ConfigError("--paper has no effect without --figures; give a folder for the figure")
    on_servers = servers or bool(url)
    if on_servers:
        given = [*compute.given(), *([] if weights_seed is None else ["--weights-seed"])]
        given += ["--model"] if model != "15m" else []
        if given:
            raise ConfigError(f"{given[0]} has no effect on servers that are running; leave it out")
    elif compute.kv_memory is not None:
        raise ConfigError("--kv-memory has no effect: a cell's KV pool is that of the sweep; leave it out")
    standing = read_standing(sweep, figure_to_check(figure), group)
    asked = Asked(
        top=top,
        repeats=repeats,
        worst=worst,
        out=next_free() if out is None else out,
        seed=seed,
        model=model,
        weights_seed=weights_seed or 0,
        compute=compute.compute(),
        urls=url,
        on_servers=on_servers,
        api_key=api_key,
    )
    checked = check_sweep(standing, asked)
    if figures is not None:
        from lab.console import say
        from lab.figures_policies import policy_figure

        figures.mkdir(parents=True, exist_ok=True)
        shown = [fidelity.ranking for fidelity in checked.fidelities if fidelity.figure.unit == "ms"]
        say(f"figure: {policy_figure(figures / ('check.pdf' if paper else 'check.png'), shown, paper)}")
    if json:
        print_json({"folder": str(checked.folder), **checked.as_dict()})
    else:
        print_check(checked.verdict, checked.contestants, checked.fidelities, checked.notes)
        print(f"runs, figures, report: {checked.folder}")
    return 1 if checked.verdict.outcome == "lost" else 0

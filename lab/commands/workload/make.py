"""servetwin workload make"""

from typing import Annotated

from cyclopts import Parameter

from lab.commands.workload.options import Out, Scale
from lab.options import Json


def make(
    *,
    rate: Annotated[float, Parameter(help="Mean arrivals, requests per second.")],
    requests: Annotated[int, Parameter(help="How many requests.")],
    out: Out,
    seed: Annotated[int, Parameter(help="Same seed, same file.")] = 0,
    arrivals: Annotated[
        str,
        Parameter(
            help="Arrival process: poisson, gamma(cv=2), weibull(cv=2), mmpp(rates=(1, 8), holds_s=(60, 5)), "
            "diurnal(amplitude=0.5, period_s=600), ramp(to=4) or constant."
        ),
    ] = "poisson",
    lengths: Annotated[
        str,
        Parameter(
            help="Lengths before scale: azure-conv or azure-code (quantiles of the Azure 2023 traces), "
            "lognormal(prompt=200, output=50, sigma=1) or constant(prompt=200, output=50)."
        ),
    ] = "azure-conv",
    scale: Scale = 0.125,
    json: Json = False,
) -> None:
    """Draw a workload of independent requests: arrivals and lengths from named seeded streams.

    Example: servetwin workload make --rate 4 --requests 500 --arrivals 'gamma(cv=2)' --seed 1 --out w.jsonl
    """
    from lab.commands.workload.report import report
    from workloads.jsonl import write_jsonl
    from workloads.synthesize import synthesize

    workload = synthesize(
        name=out.stem,
        rate=rate,
        num_requests=requests,
        seed=seed,
        arrivals=arrivals,
        lengths=lengths,
        scale=scale,
    )
    write_jsonl(out, workload)
    report(out, workload, [], json)

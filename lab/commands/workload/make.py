"""servetwin workload make"""

from typing import Annotated, Literal

from cyclopts import Parameter

from lab.commands.workload.options import Out, Scale
from lab.options import Json


def make(
    *,
    rate: Annotated[float, Parameter(help="Mean arrivals, requests per second.")],
    requests: Annotated[int, Parameter(help="How many requests.")],
    out: Out,
    seed: Annotated[int, Parameter(help="Same seed, same file.")] = 0,
    arrivals: Annotated[Literal["poisson", "gamma"], Parameter(help="Arrival process.")] = "poisson",
    cv: Annotated[float | None, Parameter(help="Coefficient of variation of gamma interarrival times.")] = None,
    lengths: Annotated[
        Literal["azure-conv", "azure-code", "lognormal", "constant"],
        Parameter(help="Length marginals: published quantiles of an Azure 2023 trace, or a family."),
    ] = "azure-conv",
    scale: Scale = 0.125,
    prompt_mean: Annotated[
        float | None, Parameter(help="Mean prompt tokens, before scale (lognormal, constant).")
    ] = None,
    output_mean: Annotated[
        float | None, Parameter(help="Mean output tokens, before scale (lognormal, constant).")
    ] = None,
    sigma: Annotated[float | None, Parameter(help="Sigma of log length (lognormal).")] = None,
    json: Json = False,
) -> None:
    """Draw a workload: arrivals and lengths from named seeded streams.

    Example: servetwin workload make --rate 4 --requests 500 --seed 1 --out w.jsonl
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
        cv=cv,
        lengths=lengths,
        scale=scale,
        prompt_mean=prompt_mean,
        output_mean=output_mean,
        sigma=sigma,
    )
    write_jsonl(out, workload)
    report(out, workload, [], json)

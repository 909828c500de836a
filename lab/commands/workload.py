"""servetwin workload make | convert"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from lab.console import print_json, say
from lab.options import Json

app = App(name="workload", help="Make a workload, or convert a public trace into one.")

Out = Annotated[Path, Parameter(help="JSONL file to write, a request a line.")]
Scale = Annotated[float, Parameter(help="Multiply prompt and output lengths by this (0.125 fits the 15m model).")]


@app.command
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
    _report(out, workload, [], json)


@app.command
def convert(
    trace: Annotated[Path, Parameter(help="Azure 2023 CSV or Mooncake JSONL, plain or .gz.")],
    /,
    *,
    out: Out,
    scale: Scale = 1.0,
    limit: Annotated[int | None, Parameter(help="Take the first so many requests.")] = None,
    speedup: Annotated[float, Parameter(help="Divide arrival times by this.")] = 1.0,
    max_len: Annotated[
        int | None, Parameter(help="Cut prompts to this many tokens, after scale; how many is reported.")
    ] = None,
    drop_invalid: Annotated[
        bool, Parameter(help="Leave out requests of zero tokens, and say how many.", negative=())
    ] = False,
    json: Json = False,
) -> None:
    """Convert a public trace to a workload.

    Example: servetwin workload convert AzureLLMInferenceTrace_conv.csv.gz --limit 500 --scale 0.125 --out w.jsonl
    """
    from workloads.jsonl import write_jsonl
    from workloads.traces import read_trace

    workload, notes = read_trace(
        trace, limit=limit, speedup=speedup, scale=scale, max_len=max_len, drop_invalid=drop_invalid
    )
    write_jsonl(out, workload)
    _report(out, workload, notes, json)


def _report(out: Path, workload, notes, json: bool) -> None:  # type: ignore[no-untyped-def]
    requests = workload.requests
    span = (requests[-1].arrival_time - requests[0].arrival_time) / 1e9
    result = {
        "out": str(out),
        "requests": len(requests),
        "span_s": span,
        "rate_per_s": (len(requests) - 1) / span if span else None,
        "mean_prompt_tokens": sum(r.prompt_len for r in requests) / len(requests),
        "mean_output_tokens": sum(r.output_len for r in requests) / len(requests),
        "sha256": workload.sha256,
        "notes": list(notes),
    }
    for note in notes:
        say(note)
    if json:
        print_json(result)
    else:
        rate = f"{result['rate_per_s']:.3g} requests/s" if span else "all at once"
        print(
            f"{out}: {len(requests)} requests over {span:.1f} s ({rate}), mean prompt "
            f"{result['mean_prompt_tokens']:.0f} and output {result['mean_output_tokens']:.0f} tokens"
        )

"""servetwin workload fit"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.commands.workload.options import Out
from lab.options import Json
from lab.trace_options import AS_IT_IS, TRACE_HELP, TraceOptions


def fit(
    workload: Annotated[Path, Parameter(help=f"Workload file, or a public trace: {TRACE_HELP}")],
    /,
    *,
    out: Out,
    seed: Annotated[int, Parameter(help="Same seed, same twin.")] = 0,
    requests: Annotated[
        int | None, Parameter(help="How many requests the twin has. Default: as many as the source.")
    ] = None,
    max_ks: Annotated[
        float,
        Parameter(
            help="A family of distributions stands for the sample up to this Kolmogorov-Smirnov distance (0 to 1)."
        ),
    ] = 0.03,
    reading: TraceOptions = AS_IT_IS,
    json: Json = False,
) -> None:
    """Draw a synthetic twin of a workload, and say how close it is: arrivals, lengths [tokens], prefixes, sessions.

    Each quantity is drawn from the closest family of distributions, or from the source's own quantiles where none is
    close. The rate in each minute is kept, so is how prompt and output lengths go together.

    Example: servetwin workload fit AzureLLMInferenceTrace_conv.csv.gz --seed 1 --out twin.jsonl
    """
    from dataclasses import asdict

    from lab.console import print_json, say
    from lab.workload_tables import print_twin
    from workloads.fit import fit as fitted
    from workloads.jsonl import write_jsonl

    load, notes = reading.load(workload)
    twin = fitted(load, name=out.stem, seed=seed, num_requests=requests, max_ks=max_ks)
    write_jsonl(out, twin.workload)
    notes += twin.notes
    for note in notes:
        say(note)
    if json:
        told = {name: value for name, value in asdict(twin).items() if name != "workload"}
        print_json({**told, "out": str(out), "sha256": twin.workload.sha256, "notes": notes})
    else:
        print_twin(out, twin)

"""servetwin gpu-check"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json


def gpu_check(
    *,
    out: Annotated[Path, Parameter(help="Folder to write: gpu-check.md, gpu-check.json, profile, run records.")],
    json: Json = False,
) -> int:
    """Check the GPU engine on this machine's CUDA device, meant for eight minutes: bring the folder back.

    Every kernel against float64, tokens against the CPU's engine, speeds against a measured copy and product, decode
    steps with CUDA graphs and without, nano-vLLM's benchmark, then calibrate, simulate, execute and compare. Without a
    device: the kernels interpreted, and compiled ahead of time; what is left out is said, and the exit code is 3.

    Example: servetwin gpu-check --out gpu-check/
    """
    from lab.console import print_json
    from lab.gpu_check.folder import run_checks
    from lab.gpu_check.report import report

    results = run_checks(out)
    if json:
        print_json([{"check": r.name, "outcome": r.outcome, "seconds": r.seconds, **r.found} for r in results])
    else:
        print(report(results))
        print(f"results: {out}")
    outcomes = {r.outcome for r in results}
    return 1 if "FAILED" in outcomes else 3 if "blocked" in outcomes else 0

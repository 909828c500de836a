"""How long a sweep takes: `python benchmarks/sweep_speed.py [--runs 1000] [--requests 1000] [--workers 2]`.

Five engines at two rates, as many seeds as make the runs; requests as long as those of Azure's conversations, on a
shipped profile. Timed as a person meets it: from the file to the last table, in a new folder, start of the
processes included. Then the same command again, which finds everything done.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from lab.cli import run
from lab.sweep.results import read_sweep

BAR_S = 600.0
"""For 1,000 runs of 1,000 requests on two cores."""
CELLS = 10
FILE = """\
profile: h100-qwen3-14b-vllm
workload: {{requests: {requests}, lengths: azure-conv}}
rate: [4, 6]
slo: {{ttft_s: 1.0, tpot_s: 0.05}}
engines:
  fcfs: {{preset: vllm}}
  sjf: {{preset: vllm, policy: sjf, predictor: noisy(error=0.3)}}
  las: {{preset: vllm, policy: las}}
  nano: {{preset: nano-vllm}}
  sarathi: {{preset: sarathi}}
seeds: {seeds}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help=f"a multiple of {CELLS}")
    parser.add_argument("--requests", type=int, default=1000, help="of each run")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args()
    if given.runs < CELLS or given.runs % CELLS:
        parser.error(f"--runs is {given.runs}; it must be a multiple of {CELLS}")
    with TemporaryDirectory(prefix="servetwin-benchmark-") as place:
        file, out = Path(place) / "sweep.yaml", Path(place) / "out"
        file.write_text(FILE.format(requests=given.requests, seeds=given.runs // CELLS))
        seconds = _timed(file, out, given.workers)
        again = _timed(file, out, given.workers)
        frame = read_sweep(out).runs
    each = seconds * given.workers / len(frame)
    print(
        f"{len(frame)} runs of {given.requests} requests on {given.workers} processes: {seconds:.1f} s, "
        f"{each:.3f} s of a process each; the same command again: {again:.1f} s"
    )
    if (given.runs, given.requests, given.workers) == (1000, 1000, 2):
        print(f"bar: {BAR_S:.0f} s. {'Kept' if seconds < BAR_S else 'Missed'}: {seconds / BAR_S:.2f} of it")


def _timed(file: Path, out: Path, workers: int) -> float:
    began = perf_counter()
    code = run(["sweep", str(file), "--out", str(out), "--workers", str(workers)])
    if code != 0:
        sys.exit(code)
    return perf_counter() - began


if __name__ == "__main__":
    main()

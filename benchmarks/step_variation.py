"""How even are the steps of a server at work? `make bench-steps`.

Starts `servetwin serve` with one compute thread, and clients that stream beside it: a fixed number of requests of equal
length at once, several times; after each round the same requests without a server, on an engine of this process.
Prints, of the decode steps with all of them, the coefficient of variation of execution times around a straight line in
the KV tokens read (a step grows with its context), by round and over all. What scatters without a server is the
machine's own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

from calibration.measuring.online import step_rows
from lab.runs import load_runner
from realexec.compute import Compute
from realexec.load import execute
from realexec.runner import Runner
from serving.schedule.engine import build_scheduler
from workloads.workload import Workload, WorkloadRequest

SERVETWIN = str(Path(sys.executable).with_name("servetwin"))
READY = "serving "


def measure(model: str, batch: int, rounds: int, tokens: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The decode steps of full batches: execution [ms], KV tokens read, and round; in a server, and without one."""
    runner = load_runner(model, {"max_num_seqs": batch}, Compute(), 0)
    without = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        server = subprocess.Popen(
            [
                *(SERVETWIN, "serve", "--model", model, "--port", "0", "--record", str(folder)),
                *("--max-num-seqs", str(batch)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"the server did not start: {line}")
        url = line.split(" at ")[1].split()[0]
        for number in range(rounds):
            clients = [threading.Thread(target=stream, args=(url, i, tokens)) for i in range(batch)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            without.append(alone(runner, batch, tokens).assign(round=number))
        server.terminate()
        server.wait()
        steps = pd.read_parquet(folder / "steps.parquet")
    full = steps[(steps["num_seqs"] == batch) & (steps["num_prefill_seqs"] == 0)].copy()
    full["ms"] = (full["host_s"] - full["launch_s"]) * 1e3
    full["round"] = (full["decode_context"].diff() < 0).cumsum()
    return full[["ms", "decode_context", "round"]], pd.concat(without, ignore_index=True)


def alone(runner: Runner, batch: int, tokens: int) -> pd.DataFrame:
    requests = [WorkloadRequest(f"r{i:03}", 0, 64, tokens, max_tokens=tokens) for i in range(batch)]
    scheduler = build_scheduler("vllm", settings={"max_num_seqs": batch, "num_blocks": runner.num_blocks})
    rows = step_rows(execute(Workload("alone", tuple(requests)), scheduler, runner).receipts)
    full = rows[(rows["num_seqs"] == batch) & (rows["num_prefill_seqs"] == 0)]
    return full[["execute_ms", "decode_context"]].rename(columns={"execute_ms": "ms"})


def stream(url: str, number: int, tokens: int) -> None:
    prompt = [3 + (7 * i + number) % 250 for i in range(64)]
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        for _ in response:
            pass


def variation(steps: pd.DataFrame) -> float:
    line = np.polyfit(steps["decode_context"], steps["ms"], 1)
    return float((steps["ms"] - np.polyval(line, steps["decode_context"])).std() / steps["ms"].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["15m", "110m"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    print("model  batch         steps  median ms  variation: in a round (the middle one), over all; p99 / median")
    for model in options.models:
        for batch in options.batches:
            both = measure(model, batch, options.rounds, options.tokens)
            for where, steps in zip(("server", "alone"), both, strict=True):
                rounds = [variation(part) for _, part in steps.groupby("round") if len(part) > options.tokens // 2]
                ratio = steps["ms"].quantile(0.99) / steps["ms"].median()
                print(
                    f"{model:<6} {batch:5} {where:<6} {len(steps):6} {steps['ms'].median():10.2f}  "
                    f"{np.median(rounds):6.1%} {variation(steps):6.1%} {ratio:6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

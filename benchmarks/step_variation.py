"""How even are the steps of a server at work? `make bench-steps`.

Starts `servetwin serve` with one compute thread, and clients that stream beside it: a fixed number of requests of equal
length at once, several times. Prints, of the decode steps with all of them, the coefficient of variation of execution
times around a straight line in the KV tokens read (a step grows with its context), by round and over all.
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

SERVETWIN = str(Path(sys.executable).with_name("servetwin"))
READY = "serving "


def measure(model: str, batch: int, rounds: int, tokens: int) -> pd.DataFrame:
    """The decode steps of full batches: their execution [ms], KV tokens read, and round."""
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
        for _ in range(rounds):
            clients = [threading.Thread(target=stream, args=(url, i, tokens)) for i in range(batch)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        server.terminate()
        server.wait()
        steps = pd.read_parquet(folder / "steps.parquet")
    full = steps[(steps["num_seqs"] == batch) & (steps["num_prefill_seqs"] == 0)].copy()
    full["ms"] = (full["host_s"] - full["launch_s"]) * 1e3
    full["round"] = (full["decode_context"].diff() < 0).cumsum()
    return full[["ms", "decode_context", "round"]]


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
    print("model  batch  steps  median ms  variation in a round, the middle of the rounds; over all; p99 / median")
    for model in options.models:
        for batch in options.batches:
            steps = measure(model, batch, options.rounds, options.tokens)
            rounds = [variation(part) for _, part in steps.groupby("round") if len(part) > options.tokens // 2]
            ratio = steps["ms"].quantile(0.99) / steps["ms"].median()
            print(
                f"{model:<6} {batch:5} {len(steps):6} {steps['ms'].median():10.2f}  {np.median(rounds):6.1%} "
                f"{variation(steps):6.1%} {ratio:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

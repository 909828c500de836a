"""servetwin beside other simulators, on the same requests in one run: `make bench-simulators`.

Prints a table: requests/s, simulated seconds per second, steps/s, peak memory, start-up apart. Each simulation runs in
a process of its own, in turn; the figure is the best of some rounds. What is timed:

servetwin  from the workload in memory to every row of requests.parquet and steps.parquet in memory (twin_replay.py);
           `on disk` is the same as a whole run record, replay log and fingerprints included
compiled   the same, by the packages that `make compiled` has made, if it has
DynoSim    ai-dynamo 1.2.1, python -m dynamo.replay --replay-mode offline: the wall time of its own report
sched-sim  0.2.1, Simulator.run() by itself, on its own A100 profile; it knows no prefix hashes

servetwin runs DynoSim's default step times (twin_replay.py), so that both simulate about the same steps.
Rivals live in .venv-rivals; without it, or with --alone, only servetwin runs. --trace FILE: Mooncake's conversations.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
RIVALS = HERE.parent / ".venv-rivals"
COMPILED = HERE.parent / ".compiled"
"""Made by `make compiled`."""
HASH_BLOCK = 512
"""Tokens of a hash id in a Mooncake trace."""
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKIO_WORKER_THREADS": "1"}


@dataclass(frozen=True)
class Scenario:
    """requests: makes the `count` lines of a Mooncake trace. They are not kept: the peak memory of a child begins with
    its parent's. rounds: the best of so many is told. alone: without rivals. writes: a whole record is written too.

    routers: ours, and DynoSim's of the same kind, where there are several replicas.
    """

    name: str
    count: int
    requests: Callable[[], Iterator[dict[str, Any]]]
    settings: dict[str, Any]
    rounds: int = 3
    alone: bool = False
    writes: bool = False
    replicas: int = 1
    routers: tuple[str, str] = ("round-robin", "round_robin")


def steady(count: int, rounds: int = 3, alone: bool = False) -> Scenario:
    """512 prompt and 64 output tokens, 20 ms apart."""

    def requests() -> Iterator[dict[str, Any]]:
        for i in range(count):
            yield {"timestamp": 20 * i, "input_length": 512, "output_length": 64, "hash_ids": [i]}

    settings = {"num_blocks": 16384, "block_size": 16, "max_num_seqs": 256, "max_num_batched_tokens": 2048}
    return Scenario(
        f"steady, {count:,}", count, requests, {**settings, "enable_prefix_caching": False}, rounds, alone, True
    )


def starved() -> Scenario:
    """300 requests with 196,000 output tokens, 10 ms apart, in 41,408 tokens of KV."""
    lengths = [307 + 692 * ((i * 137) % 300) // 299 for i in range(300)]
    lengths[-1] += 196_000 - sum(lengths)

    def requests() -> Iterator[dict[str, Any]]:
        for i, n in enumerate(lengths):
            yield {"timestamp": 10 * i, "input_length": 512, "output_length": n, "hash_ids": [i]}

    settings = {"num_blocks": 2588, "block_size": 16, "max_num_seqs": 256, "max_num_batched_tokens": 2048}
    return Scenario(
        "KV-starved, 196,000 tokens", 300, requests, {**settings, "enable_prefix_caching": False}, writes=True
    )


def mooncake(path: Path, block_size: int, rounds: int, replicas: int = 1, affine: bool = False) -> Scenario:
    """The conversation trace (Qin et al., FAST 2025) as it was recorded; prefix caching on, 8 M tokens of KV a replica.

    affine: the router looks for the replica that has most of the prompt.
    """
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = text.splitlines()

    def requests() -> Iterator[dict[str, Any]]:
        return map(json.loads, lines)

    settings = {"num_blocks": (1 << 23) // block_size, "block_size": block_size, "max_num_seqs": 256}
    settings |= {"max_num_batched_tokens": 8192, "enable_prefix_caching": True}
    name = f"Mooncake, blocks of {block_size}" + (f", {replicas} replicas" if replicas > 1 else "")
    if affine:
        routers = ("prefix-affinity", "kv_router")
        return Scenario(
            f"{name}, by prefix", len(lines), requests, settings, rounds, replicas=replicas, routers=routers
        )
    return Scenario(name, len(lines), requests, settings, rounds, replicas=replicas)


def servetwin(scenario: Scenario, trace: Path, root: Path = HERE.parent) -> dict[str, float]:
    settings = {**scenario.settings, "max_model_len": 1 << 20}
    command = [sys.executable, root / "benchmarks/twin_replay.py", trace, json.dumps(settings)]
    out, _ = _run([*command, scenario.replicas, scenario.routers[0], scenario.writes], root)
    return json.loads(out)


def compiled(scenario: Scenario, trace: Path) -> dict[str, float]:
    return servetwin(scenario, trace, COMPILED)


def dynosim(scenario: Scenario, trace: Path) -> dict[str, float]:
    settings = dict(scenario.settings)
    settings["num_gpu_blocks"] = settings.pop("num_blocks")
    report = trace.with_suffix(".dynosim.json")
    command = [RIVALS / "dynamo/bin/python", "-m", "dynamo.replay", "--replay-mode", "offline"]
    command += ["--num-workers", scenario.replicas, "--router-mode", scenario.routers[1]]
    command += ["--trace-block-size", HASH_BLOCK, "--extra-engine-args", json.dumps(settings)]
    begin = perf_counter()
    _, peak = _run([*command, "--report-json", report, trace])
    whole, told = perf_counter() - begin, json.loads(report.read_text())
    seconds = told["wall_time_ms"] / 1e3
    return {
        "start_up_s": whole - seconds,
        "seconds": seconds,
        "simulated_s": told["duration_ms"] / 1e3,
        "peak_mb": peak,
        "completed": told["completed_requests"],
    }


def sched_sim(scenario: Scenario, trace: Path) -> dict[str, float]:
    if scenario.settings["enable_prefix_caching"] or scenario.replicas > 1:
        raise NotImplementedError
    own = trace.with_suffix(".sched-sim.json")
    requests = [
        {"timestamp": r["timestamp"] / 1e3, "prompt_tokens": r["input_length"], "output_tokens": r["output_length"]}
        for r in scenario.requests()
    ]
    own.write_text(json.dumps(requests))
    budget = scenario.settings["max_num_batched_tokens"]
    out, peak = _run([RIVALS / "sched-sim/bin/python", HERE / "sched_sim_replay.py", own, budget])
    return {**json.loads(out), "peak_mb": peak}


def _run(command: Sequence[object], root: Path = HERE.parent) -> tuple[str, float]:
    """What it printed, and the most memory it held, in MB. root: where Python looks first."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            list(map(str, command)), env={**ONE_CORE, "PYTHONPATH": str(root)}, stdout=out, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{command[0]}: exit code {process.returncode}\n{errors.read()[-2000:]}")
        return out.read(), usage.ru_maxrss / 1024


OURS = {"servetwin": servetwin, **({"servetwin, compiled": compiled} if COMPILED.exists() else {})}
SIMULATORS = {**OURS, "DynoSim 1.2.1": dynosim, "sched-sim 0.2.1": sched_sim}


def measure(scenario: Scenario) -> Iterator[tuple[str, dict[str, float]]]:
    """The best of the rounds of each simulator, in turn."""
    names = [name for name in SIMULATORS if name in OURS or not scenario.alone]
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        with open(trace, "w") as file:
            file.writelines(json.dumps(request) + "\n" for request in scenario.requests())
        for _ in range(scenario.rounds):
            for name in names:
                try:
                    result = SIMULATORS[name](scenario, trace)
                except NotImplementedError:
                    continue
                if name not in best or result["seconds"] < best[name]["seconds"]:
                    best[name] = result
    yield from best.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", action="store_true", help="only servetwin")
    parser.add_argument("--trace", type=Path, help="a Mooncake trace, .jsonl or .gz")
    arguments = parser.parse_args()
    alone = arguments.alone or not RIVALS.exists()
    scenarios = [steady(10_000), starved()]
    if arguments.trace:
        scenarios += [mooncake(arguments.trace, 512, 3), mooncake(arguments.trace, 16, 1)]
        scenarios += [mooncake(arguments.trace, 512, 3, 8), mooncake(arguments.trace, 512, 3, 8, affine=True)]
    scenarios += [steady(100_000, 1, alone=True), steady(1_000_000, 1, alone=True)]
    print(f"{'':68}{'wall s':>9}{'requests/s':>12}{'simulated s/s':>15}{'steps/s':>10}{'peak MB':>9}{'start-up s':>12}")
    for scenario in scenarios:
        for name, r in measure(replace(scenario, alone=alone or scenario.alone)):
            row = [
                f"{scenario.name:<48}{name:<20}",
                f"{r['seconds']:9.2f}{scenario.count / r['seconds']:12,.0f}",
            ]
            row.append(f"{r['simulated_s'] / r['seconds']:15,.0f}")
            row.append(f"{r['steps'] / r['seconds']:10,.0f}" if "steps" in r else f"{'':10}")
            row.append(f"{r['peak_mb']:9,.0f}{r['start_up_s']:12.2f}")
            print("".join(row), flush=True)
            if "record_s" in r:
                n = scenario.count / r["record_s"]
                print(f"{'':48}{'  on disk':<20}{r['record_s']:9.2f}{n:12,.0f}", flush=True)


if __name__ == "__main__":
    main()

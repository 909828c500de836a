"""The main job, end to end: measure, calibrate, simulate, execute, compare."""

from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from random import Random

from calibration.compare import Comparison, compare
from calibration.measuring.traffic import AZURE_CONVERSATION, Traffic
from lab.calibration import calibrate_to, describe
from lab.console import progress, say
from lab.figures import latency_figure
from lab.load_class import load_class
from lab.runs import execute_run, load_runner, refuse_on_hardware, simulate_run
from lab.tables import comparison_text
from lab.trial import Trial
from realexec.compute import Compute
from records.atomic import write_file
from records.run import RunRecord
from serving.errors import ConfigError
from serving.schedule.config import EngineConfig
from serving.schedule.engine import build
from sim.scripted import ScriptedCost
from workloads.jsonl import write_jsonl
from workloads.retime import at_rate
from workloads.traces import read_any
from workloads.workload import Workload

PLACES = {"cpu": "PyTorch on CPU", "cuda": "Triton on CUDA"}
MEAN_PROMPT = 144.0
"""Tokens a trace's prompts are scaled to on average: the Azure conversation mean times 0.125."""


@dataclass(frozen=True)
class DemoResult:
    folder: Path
    comparison: Comparison


def run_demo(
    trace: Path | None, out: Path | None, seed: int, model: str, compute: Compute, budget_s: float, trial: Trial
) -> DemoResult:
    """Real runs are repeated in a new random order each time, so that the machine's drift meets all of them alike. Each
    is simulated at the speed that the probe saw during it, with the profile's noise.
    """
    specs = trial.specs()
    for spec in specs.values():
        refuse_on_hardware(spec, trial.predictor)
        build(spec, cost=ScriptedCost(1), load=load_class)  # a wrong name is told before anything is measured
    source = _scaled(trace) if trace else None
    folder = _new_folder(out)
    say(f"1/5 measure the real engine ({model}, {PLACES[compute.device]}) for {budget_s:g} s, and fit its step times")
    runner = load_runner(model, {}, compute, seed)
    config = EngineConfig(num_blocks=runner.num_blocks, block_size=runner.block_size)
    traffic = Traffic(source.name, template=source) if source else AZURE_CONVERSATION
    profile = calibrate_to(folder / "profile.json", runner, config, budget_s, seed, traffic)
    say(describe(profile))

    capacity = float(profile.capacity["requests_per_s"]) if profile.capacity else 0.0
    workloads = [_workload(source, traffic, load, capacity, trial.seconds, seed) for load in trial.loads]
    for workload in workloads:
        write_jsonl(folder / f"{workload.name}.jsonl", workload)
    say(
        "2/5 requests: "
        + ", ".join(
            f"{w.name} {len(w.requests)} at {load * capacity:.1f}/s"
            for w, load in zip(workloads, trial.loads, strict=True)
        )
    )

    cells = list(product(workloads, specs))
    say(f"3/5 execute {len(cells)} cells, {trial.repeats} times each, on the real engine in real time")
    order = Random(seed)
    real: list[tuple[Workload, str, int, RunRecord]] = []
    for repeat in range(1, trial.repeats + 1):
        for w, name in order.sample(cells, len(cells)):
            where = folder / f"real-{w.name}-{name}-{repeat}"
            with progress(f"  {w.name} {name}, repeat {repeat}", len(w.requests), "requests") as advance:
                record = execute_run(
                    where, w, runner, specs[name], trial.predictor, profile=profile, seed=seed, progress=advance
                )
            real.append((w, name, repeat, record))

    say("4/5 simulate each of them, at the speed that a probe of the machine had meanwhile")
    records = [record for *_, record in real]
    for w, name, repeat, record in real:
        where, spec = folder / f"sim-{w.name}-{name}-{repeat}", specs[name]
        records.append(
            simulate_run(where, w, profile, spec, trial.predictor, speed_of=[record.manifest], noise_seed=repeat)
        )

    say("5/5 compare")
    comparison = compare(records)
    latency_figure(folder / "comparison.png", comparison.cells)
    write_file(folder / "comparison.txt", comparison_text(comparison).encode())
    return DemoResult(folder, comparison)


def _workload(
    source: Workload | None, traffic: Traffic, load: float, capacity: float, seconds: float, seed: int
) -> Workload:
    """Requests that arrive for so many seconds at a share of capacity; a trace keeps its own arrival pattern."""
    name = f"load-{load:g}"
    wanted = max(20, round(load * capacity * seconds))
    if source is None:
        drawn = traffic.draw(load * capacity, wanted, seed=1000 + seed)
        return Workload(name, drawn.requests)
    return at_rate(Workload(name, source.requests[:wanted]), load * capacity)


def _scaled(trace: Path) -> Workload:
    """A trace with its lengths scaled to the small model; what was cut is said."""
    raw, notes = read_any(trace)
    scale = MEAN_PROMPT * len(raw.requests) / sum(r.prompt_len for r in raw.requests)
    scaled, notes = read_any(trace, scale=scale, max_len=EngineConfig().max_model_len // 2)
    say(f"{trace.name}: {len(scaled.requests)} requests, lengths times {scale:.4g}")
    for note in notes:
        say(note)
    return scaled


def _new_folder(out: Path | None) -> Path:
    if out is None:
        out = next(p for n in count(1) if not (p := Path("runs") / f"demo-{n}").exists())
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    return out

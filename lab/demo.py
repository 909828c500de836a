"""The main job, end to end: measure, calibrate, simulate, execute, compare."""

from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path

from calibration.compare import Comparison, compare
from calibration.traffic import AZURE_CONVERSATION, Traffic
from lab.calibration import calibrate_to, describe
from lab.console import progress, say
from lab.figures import comparison_figure
from lab.runs import execute_run, load_runner, simulate_run
from lab.tables import comparison_text
from realexec.compute import Compute
from records.atomic import write_file
from records.run import RunRecord
from serving.errors import ConfigError
from serving.schedule.config import EngineConfig
from serving.schedule.engine import EngineSpec
from workloads.jsonl import write_jsonl
from workloads.traces import read_any
from workloads.workload import Workload

PRESETS = ("vllm", "nano-vllm")
LOADS = (0.5, 0.8)
REPEATS = 2
MEAN_PROMPT = 144.0
"""Tokens a trace's prompts are scaled to on average: the Azure conversation mean times 0.125."""


@dataclass(frozen=True)
class DemoResult:
    folder: Path
    comparison: Comparison


def run_demo(
    trace: Path | None, out: Path | None, seed: int, model: str, budget_s: float, seconds: float
) -> DemoResult:
    source = _scaled(trace) if trace else None
    folder = _new_folder(out)
    say(f"1/5 measure the real engine ({model}, PyTorch on CPU) for {budget_s:g} s, and fit its step times")
    runner = load_runner(model, {}, Compute(), seed)
    config = EngineConfig(num_blocks=runner.num_blocks, block_size=runner.block_size)
    traffic = Traffic(source.name, template=source) if source else AZURE_CONVERSATION
    profile = calibrate_to(folder / "profile.json", runner, config, budget_s, seed, traffic)
    say(describe(profile))

    capacity = float(profile.capacity["requests_per_s"]) if profile.capacity else 0.0
    workloads = [_workload(source, traffic, load, capacity, seconds, seed) for load in LOADS]
    for workload in workloads:
        write_jsonl(folder / f"{workload.name}.jsonl", workload)
    say(
        "2/5 requests: "
        + ", ".join(
            f"{w.name} {len(w.requests)} at {load * capacity:.1f}/s" for w, load in zip(workloads, LOADS, strict=True)
        )
    )

    cells = list(product(workloads, PRESETS))
    say(f"3/5 execute {len(cells)} cells, {REPEATS} times each, on the real engine in real time")
    real: dict[tuple[str, str], list[RunRecord]] = {}
    for repeat, (w, preset) in product(range(1, REPEATS + 1), cells):
        with progress(f"  {w.name} {preset}, repeat {repeat}", len(w.requests), "requests") as advance:
            where = folder / f"real-{w.name}-{preset}-{repeat}"
            record = execute_run(where, w, runner, EngineSpec(preset), seed=seed, progress=advance)
        real.setdefault((w.name, preset), []).append(record)

    say(f"4/5 simulate {len(cells)} cells, at the speed that a probe of the machine had during the real runs")
    records = [r for repeats in real.values() for r in repeats]
    for w, preset in cells:
        around = [r.manifest for r in real[w.name, preset]]
        where = folder / f"sim-{w.name}-{preset}"
        records.append(simulate_run(where, w, profile, EngineSpec(preset), speed_of=around))

    say("5/5 compare")
    comparison = compare(records)
    comparison_figure(folder / "comparison.png", records, comparison)
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
    members = source.requests[:wanted]
    span = members[-1].arrival_time - members[0].arrival_time
    if span == 0:
        raise ConfigError(f"trace {source.name}: its first {wanted} requests arrive all at once; no rate can be set")
    stretch = (len(members) - 1) / (load * capacity) * 1e9 / span
    first = members[0].arrival_time
    return Workload(name, tuple(replace(r, arrival_time=round((r.arrival_time - first) * stretch)) for r in members))


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

"""What a decode step takes with CUDA graphs and without, by batch size, interleaved."""

import time
from dataclasses import dataclass
from statistics import median

from realexec.runner import Runner
from serving.schedule.contract import Admission, Plan

REPEATS = 30


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """Milliseconds from launch to tokens on the host, the middle of the repeats."""

    num_seqs: int
    context: int
    graphs_ms: float
    eager_ms: float


def compare_graphs(graphs: Runner, eager: Runner, sizes: tuple[int, ...], context: int) -> list[DecodeStep]:
    """Both runners are warm and have KV for the largest batch."""
    found = []
    for size in sizes:
        times: dict[Runner, list[float]] = {graphs: [], eager: []}
        for _ in range(REPEATS):
            for runner, taken in times.items():
                taken.append(_step_ms(runner, size, context))
        found.append(DecodeStep(size, context, median(times[graphs]), median(times[eager])))
    return found


def _step_ms(runner: Runner, size: int, context: int) -> float:
    inputs = runner.prepare(decode_plan(size, context, runner.block_size))
    began = time.perf_counter_ns()
    runner.execute(inputs)
    taken = time.perf_counter_ns() - began
    runner.forget([str(i) for i in range(size)])
    return taken / 1e6


def decode_plan(size: int, context: int, block_size: int) -> Plan:
    """One token each of so many sequences, whose KV is said to be stored already."""
    ids = tuple(str(i) for i in range(size))
    blocks = -(-(context + 1) // block_size)
    return Plan(
        step_id=0,
        request_ids=ids,
        starts=(context,) * size,
        num_tokens=(1,) * size,
        samples=(True,) * size,
        prompt_lens=(context + 1,) * size,
        admitted=tuple(Admission(i, (0,) * (context + 1), context) for i in ids),
        new_blocks=tuple((i, tuple(range(k * blocks, (k + 1) * blocks))) for k, i in enumerate(ids)),
        preempted=(),
        released=(),
    )

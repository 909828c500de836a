"""What one schedule-and-complete step costs on one core: `python benchmarks/scheduler_step.py [--policies]`.

Running decodes, none of which ends; 64 prompt tokens each, prefix caching on, so that every 16th step of a request
takes a new KV block and publishes a full one. The figure is the mean of 320 steps, the best of five rounds.
"""

import sys
from time import perf_counter

from serving.cost import StepFeatures
from serving.request import Request
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.registry import POLICIES

STEPS, ROUNDS = 320, 5
BAR_US = 100.0


class Linear:
    """A cost model for policies that predict: 5 ms a step, 50 us a token."""

    def schedule_time(self, step: StepFeatures) -> int:
        return 0

    def execute_time(self, step: StepFeatures) -> int:
        return 5_000_000 + 50_000 * step.num_tokens

    return_time = complete_time = schedule_time

    def copy_time(self, num_blocks: int) -> int:
        return 0


def request(name: str, number: int, prompt: int) -> Request:
    first = 1000 * number
    return Request(
        name,
        number,
        tuple(range(first, first + prompt)),
        3000,
        stop_token_ids=(2,),
        tenant=f"t{number % 8}",
        deadline=10**12 + number,
        predicted_output_len=3000 + number % 97,
    )


def step_us(decodes: int, waiting: int, preset: str = "vllm", policy: str = "fcfs") -> float:
    """Mean microseconds of a step with so many running decodes and so many waiting requests."""
    settings = {"max_num_seqs": decodes, "num_blocks": decodes * 160, "max_num_batched_tokens": 8192}
    scheduler = build_scheduler(preset, policy, settings, cost=Linear())
    for i in range(decodes):
        scheduler.add(request(f"r{i}", i, 64), 0)
    now = 0
    while True:
        now += 1_000_000
        plan = scheduler.schedule(now)
        scheduler.complete(plan.step_id, [(7,) if samples else () for samples in plan.samples], now)
        if len(plan.request_ids) == decodes and max(plan.num_tokens) == 1:
            break
    for i in range(waiting):
        scheduler.add(request(f"w{i}", decodes + i, 3000), now)  # nano-vLLM has no seat limit: they must not fit
    tokens = [(7,)] * decodes
    best = float("inf")
    for _ in range(ROUNDS):
        began = perf_counter()
        for _ in range(STEPS):
            now += 1_000_000
            plan = scheduler.schedule(now)
            scheduler.complete(plan.step_id, tokens, now)
        best = min(best, (perf_counter() - began) / STEPS * 1e6)
    return best


def main() -> None:
    print(f"{'preset':<12}{'policy':<14}{'decodes':>8}{'waiting':>9}{'us a step':>11}{'us a decode':>13}")

    def row(decodes: int, waiting: int, preset: str = "vllm", policy: str = "fcfs") -> float:
        cost = step_us(decodes, waiting, preset, policy)
        print(f"{preset:<12}{policy:<14}{decodes:>8}{waiting:>9}{cost:>11.1f}{cost / decodes:>13.3f}", flush=True)
        return cost

    for decodes in (64, 128, 256, 512, 1024):
        row(decodes, 0)
    few, many = row(256, 10), row(256, 10_000)
    row(256, 0, "nano-vllm")
    if "--policies" in sys.argv:
        for policy in POLICIES:
            row(256, 10, policy=policy)
            row(256, 10_000, policy=policy)
    print(f"bar: 256 decodes in {BAR_US:.0f} us. 10,000 waiting cost {many / few:.2f} times what 10 waiting cost.")


if __name__ == "__main__":
    main()

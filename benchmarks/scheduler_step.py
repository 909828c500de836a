"""What one schedule-and-complete step costs on one core: `python benchmarks/scheduler_step.py [--policies]`.

Running decodes, none of which ends; 64 prompt tokens each, prefix caching on, so that every 16th step of a request
takes a new KV block and publishes a full one. The figure is the mean of 320 steps, the best of five rounds.
"""

import sys
from time import perf_counter

from serving.cost import StepFeatures
from serving.errors import ConfigError
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

    def wake_time(self) -> int:
        return 0

    arrive_time = wake_time


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


class Case:
    """So many running decodes, none of which ends, and so many waiting requests that do not fit."""

    def __init__(self, decodes: int, waiting: int, preset: str = "vllm", policy: str = "fcfs") -> None:
        self.title = f"{preset:<12}{policy:<14}{decodes:>8}{waiting:>9}"
        self.decodes = decodes
        self.best_us = float("inf")
        settings = {"max_num_seqs": decodes, "num_blocks": decodes * 160, "max_num_batched_tokens": 8192}
        self._scheduler = build_scheduler(preset, policy, settings, cost=Linear())
        self._now = 0
        for i in range(decodes):
            self._scheduler.add(request(f"r{i}", i, 64), 0)
        while self._step([]) < decodes:
            pass
        for i in range(waiting):
            self._scheduler.add(request(f"w{i}", decodes + i, 3000), self._now)  # nano-vLLM has no limit of seats

    def _step(self, tokens: list[tuple[int, ...]]) -> int:
        """How many requests decode. tokens: one each, or [] to have them made."""
        self._now += 1_000_000
        plan = self._scheduler.schedule(self._now)
        self._scheduler.complete(
            plan.step_id, tokens or [(7,) if samples else () for samples in plan.samples], self._now
        )
        return len(plan.request_ids) if max(plan.num_tokens) == 1 else 0

    def round(self) -> None:
        tokens = [(7,)] * self.decodes
        schedule, complete, now = self._scheduler.schedule, self._scheduler.complete, self._now
        began = perf_counter()
        for _ in range(STEPS):
            now += 1_000_000
            complete(schedule(now).step_id, tokens, now)
        self.best_us = min(self.best_us, (perf_counter() - began) / STEPS * 1e6)
        self._now = now


def measure(*cases: Case) -> None:
    """Rounds of all cases by turns, so that a drift of the machine meets each."""
    for _ in range(ROUNDS):
        for case in cases:
            case.round()
    for case in cases:
        print(f"{case.title}{case.best_us:>11.1f}{case.best_us / case.decodes:>13.3f}", flush=True)


def main() -> None:
    print(f"{'preset':<12}{'policy':<14}{'decodes':>8}{'waiting':>9}{'us a step':>11}{'us a decode':>13}")
    measure(*(Case(decodes, 0) for decodes in (64, 128, 256, 512, 1024)), Case(256, 0, "nano-vllm"))
    few, many = Case(256, 10), Case(256, 10_000)
    measure(few, many)
    print(
        f"bar: 256 decodes in {BAR_US:.0f} us. 10,000 waiting cost {many.best_us / few.best_us:.2f} times what 10 cost."
    )
    if "--policies" in sys.argv:
        for policy in POLICIES:
            try:
                measure(Case(256, 10, policy=policy), Case(256, 10_000, policy=policy))
            except ConfigError as error:
                print(f"{policy}: {error}")


if __name__ == "__main__":
    main()

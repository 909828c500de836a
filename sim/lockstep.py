"""A world without time: in step k the requests of step k arrive, the engine schedules once, tokens are fed back.

It prints what a scheduler decides in the format of a decision trace (workloads/decision_trace.py), so that it can be
held against what a real engine decided on the same file.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from serving.errors import RequestError
from serving.schedule.contract import Idle, Plan
from serving.schedule.engine import build_scheduler
from serving.schedule.presets import PRESETS
from serving.schedule.scheduler import Scheduler
from workloads.decision_trace import DecisionTrace, TraceConfig, TraceRequest, trace_token

_NOT_SETTINGS = ("policy", "log_blocks", "log_queues")


def decide(engine: str, trace: DecisionTrace) -> Iterator[dict[str, Any]]:
    """A JSON object a step, until every request has ended. engine: a preset.

    Where the real engine dies, and no scheduler could go on either, a step has "error", which names the request; that
    request is dropped. Errors: ConfigError where the settings do not fit the engine.
    """
    return _Lockstep(engine, trace).run()


def _build(engine: str, config: TraceConfig) -> Scheduler:
    lacking = PRESETS[engine].without_effect if engine in PRESETS else ()
    settings = {k: v for k, v in config.model_dump().items() if k not in _NOT_SETTINGS and k not in lacking}
    if engine == "nano-vllm":
        settings["max_model_len"] = 1 << 30  # its max_model_len never limits a request
    return build_scheduler(engine, config.policy, settings, refuses_impossible=False)


class _Lockstep:
    def __init__(self, engine: str, trace: DecisionTrace) -> None:
        self._engine = engine
        self._config = trace.config
        self._scheduler = _build(engine, trace.config)
        self._arrivals: dict[int, list[tuple[int, TraceRequest]]] = {}
        for position, request in enumerate(trace.requests):
            self._arrivals.setdefault(request.arrival_step, []).append((position, request))
        self._streams = {request.id: request.output_stream for request in trace.requests}
        self._sampled = dict.fromkeys(self._streams, 0)
        self._prefilling: set[str] = set()
        self._in_flight: deque[Plan | None] = deque()
        self._tells_of_finished = False
        self._told_of_death = False
        self._told_preempted = 0  # by empty steps just before: the next plan names them again, for runners

    def run(self) -> Iterator[dict[str, Any]]:
        k = 0
        while self._arrivals or self._scheduler.has_work or self._in_flight:
            for position, request in self._arrivals.pop(k, ()):
                self._scheduler.add(request.request(arrival_time=position), k)
            yield {"step": k, **(self._async_step(k) if self._config.async_scheduling else self._step(k))}
            k += 1

    def _step(self, k: int) -> dict[str, Any]:
        if not self._scheduler.has_work:
            return {"idle": True}
        running = self._scheduler.running_ids()
        try:
            plan = self._scheduler.schedule(k)
        except RequestError as error:
            return self._stuck(error, running, k)
        line = self._scheduled(plan)
        line["finished"] = [] if isinstance(plan, Idle) else self._complete(plan, k)
        line["free_blocks_end"] = self._free_blocks()
        return line

    def _stuck(self, error: RequestError, ran: Sequence[str], k: int) -> dict[str, Any]:
        """ran: who was running before the step."""
        still = self._scheduler.running_ids()
        self._scheduler.abort(error.request_id, k)
        return {
            "error": f"{error}; the real engine stops here, servetwin drops the request and goes on",
            "request": error.request_id,
            "preempted": [request_id for request_id in reversed(ran) if request_id not in still],
        }

    def _async_step(self, k: int) -> dict[str, Any]:
        """A second step is scheduled before the first is complete; an empty one takes its turn as well.

        Source: vLLM 0.32.0 v1/engine/core.py (step_with_batch_queue).
        """
        line: dict[str, Any] = {"scheduled": {}}
        if self._scheduler.has_work or self._tells_of_finished:
            running = self._scheduler.running_ids()
            try:
                plan = self._scheduler.schedule(k)
            except RequestError as error:
                return self._stuck(error, running, k)
            line = self._scheduled(plan)
            self._in_flight.append(None if isinstance(plan, Idle) else plan)
            self._tells_of_finished = False
            if len(self._in_flight) < self._scheduler.max_in_flight:
                return {**line, "finished": [], "processed": False, "free_blocks_end": self._free_blocks()}
        elif not self._in_flight:
            return {"idle": True}
        oldest = self._in_flight.popleft()
        line["finished"] = [] if oldest is None else self._complete(oldest, k)
        self._tells_of_finished = bool(line["finished"])
        return {**line, "processed": True, "free_blocks_end": self._free_blocks()}

    def _scheduled(self, plan: Plan | Idle) -> dict[str, Any]:
        scheduler = self._scheduler
        line: dict[str, Any] = {}
        if isinstance(plan, Idle):
            line |= {"scheduled": {}, "computed": {}, "cached_prefix": {}}
            blocks = {}
        else:
            cached = {admission.request_id: admission.num_cached for admission in plan.admitted}
            self._prefilling |= cached.keys()
            if self._engine == "nano-vllm":
                prefill = any(request_id in self._prefilling for request_id in plan.request_ids)
                line["kind"] = "prefill" if prefill else "decode"
                line |= self._death(prefill)
            computed = {r: cached.get(r, start) for r, start in zip(plan.request_ids, plan.starts, strict=True)}
            ends = _ends(plan)
            line["scheduled"] = {r: end - computed[r] for r, end in zip(plan.request_ids, ends, strict=True)}
            line |= {"computed": computed, "cached_prefix": cached}
            blocks = {request_id: list(block_ids) for request_id, block_ids in plan.new_blocks}
        if isinstance(plan, Idle):
            line["preempted"] = list(plan.preempted)
            self._told_preempted += len(plan.preempted)
        else:
            line["preempted"] = list(plan.preempted[self._told_preempted :])
            self._told_preempted = 0
        line["free_blocks"] = self._free_blocks()
        if self._config.log_blocks:
            line["new_blocks"] = blocks
        if self._config.log_queues:
            line |= {"waiting_ids": scheduler.waiting_ids(), "running_ids": scheduler.running_ids()}
        snapshot = scheduler.snapshot()
        return {**line, "running": snapshot.num_running, "waiting": snapshot.num_waiting}

    def _death(self, prefill: bool) -> dict[str, str]:
        """nano-vLLM asks for a block when a length is 1 modulo block_size, which never holds for block_size 1."""
        if prefill or self._config.block_size > 1 or self._told_of_death:
            return {}
        self._told_of_death = True
        return {
            "error": "nano-vLLM dies here: with block_size 1 it never appends a block for a decode; "
            "servetwin appends it and goes on"
        }

    def _complete(self, plan: Plan, k: int) -> list[str]:
        tokens: list[tuple[int, ...]] = []
        for request_id, samples in zip(plan.request_ids, plan.samples, strict=True):
            if not samples:
                tokens.append(())
                continue
            tokens.append((trace_token(self._streams[request_id], self._sampled[request_id]),))
            self._sampled[request_id] += 1
            self._prefilling.discard(request_id)
        return list(self._scheduler.complete(plan.step_id, tokens, k).finished)

    def _free_blocks(self) -> int:
        snapshot = self._scheduler.snapshot()
        return (snapshot.kv_free + snapshot.kv_cached_idle) // self._config.block_size


def _ends(plan: Plan) -> Sequence[int]:
    return [start + n for start, n in zip(plan.starts, plan.num_tokens, strict=True)]

"""What /metrics tells, under vLLM's names where the meaning is the same.

Times are integer nanoseconds of the engine's clock; a request's first event is its arrival at the server, a token's the
moment before it is handed to the event loop.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from realexec.engine import Engine, ExecutedStep
from serving.request import Request
from serving.schedule.contract import Snapshot

if TYPE_CHECKING:
    from realexec.server.service import Stream

SHORT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
LONG_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """On a registry of its own, so that two servers of one process do not meet."""

    def __init__(self, model_name: str, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._model = model_name
        self._gauge("num_requests_running", "Requests in the running batch.", engine, lambda s: s.num_running)
        self._gauge("num_requests_waiting", "Requests waiting to be scheduled.", engine, lambda s: s.num_waiting)
        self._gauge("kv_cache_usage_perc", "Share of KV token slots in blocks that requests hold.", engine, _kv_usage)
        self._preemptions = self._counter("num_preemptions", "Requests that gave way, each time.")
        self._queries = self._counter("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = self._counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of requests that were admitted.")
        self._prompt_cached = self._counter("prompt_tokens_cached", "Of those, tokens that were cached.")
        self._generated = self._counter("generation_tokens", "Tokens generated.")
        self._rejections = self._counter("admission_rejections", "Requests that the admission policy turned away.")
        self._success = Counter(
            "vllm:request_success",
            "Requests that ended, by reason.",
            ("model_name", "engine", "finished_reason"),
            registry=self._registry,
        )
        self._step_tokens = self._histogram("iteration_tokens_total", "Tokens computed in a step.", STEP_TOKENS)
        self._ttft = self._histogram("time_to_first_token_seconds", "Arrival to first token.", SHORT_S)
        self._itl = self._histogram("inter_token_latency_seconds", "Token to token.", SHORT_S)
        self._tpot = self._histogram("request_time_per_output_token_seconds", "Mean of a request's.", SHORT_S)
        self._e2e = self._histogram("e2e_request_latency_seconds", "Arrival to last token.", LONG_S)
        self._queue = self._histogram("request_queue_time_seconds", "Arrival to first scheduled.", LONG_S)
        self._inference = self._histogram("request_inference_time_seconds", "First scheduled to last token.", LONG_S)
        self._prefill = self._histogram("request_prefill_time_seconds", "First scheduled to first token.", LONG_S)
        self._decode = self._histogram("request_decode_time_seconds", "First to last token.", LONG_S)
        self._prompt = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", TOKENS)
        self._output = self._histogram("request_generation_tokens", "Output tokens of a request.", TOKENS)
        self._asked = self._histogram("request_params_max_tokens", "max_tokens of a request.", TOKENS)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def opened(self, request: Request) -> None:
        self._asked.observe(request.max_tokens)

    def rejected(self) -> None:
        self._rejections.inc()

    def step(self, step: ExecutedStep) -> None:
        self._step_tokens.observe(sum(step.plan.num_tokens))
        self._generated.inc(sum(step.outcome.num_accepted))
        if step.plan.preempted:
            self._preemptions.inc(len(step.plan.preempted))

    def token(self, stream: "Stream", now: int) -> None:
        if stream.first_at is not None:
            self._itl.observe((now - stream.last_at) / 1e9)
            stream.last_at = now
            return
        stream.first_at = stream.last_at = now
        self._ttft.observe((now - stream.request.arrival_time) / 1e9)
        cached = stream.num_cached or 0
        for counter, count in (
            (self._queries, stream.prompt_len),
            (self._hits, cached),
            (self._prompt_tokens, stream.prompt_len),
            (self._prompt_cached, cached),
        ):
            counter.inc(count)

    def ended(self, stream: "Stream", reason: str, now: int, num_tokens: int = 0) -> None:
        """reason: stop, length, or abort, of which nothing but the number is told."""
        self._success.labels(self._model, "0", reason).inc()
        first, scheduled = stream.first_at, stream.scheduled_at
        if reason == "abort" or first is None or scheduled is None:
            return
        arrived = stream.request.arrival_time
        for histogram, since, until in (
            (self._e2e, arrived, now),
            (self._queue, arrived, scheduled),
            (self._inference, scheduled, now),
            (self._prefill, scheduled, first),
            (self._decode, first, now),
        ):
            histogram.observe((until - since) / 1e9)
        if num_tokens > 1:
            self._tpot.observe((now - first) / (num_tokens - 1) / 1e9)
        self._prompt.observe(stream.prompt_len)
        self._output.observe(num_tokens)

    def _counter(self, name: str, meaning: str) -> Counter:
        counter = Counter(f"vllm:{name}", meaning, ("model_name", "engine"), registry=self._registry)
        return counter.labels(self._model, "0")

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        labels = ("model_name", "engine")
        histogram = Histogram(f"vllm:{name}", meaning, labels, buckets=buckets, registry=self._registry)
        return histogram.labels(self._model, "0")

    def _gauge(self, name: str, meaning: str, engine: Engine, of: Callable[[Snapshot], float]) -> None:
        gauge = Gauge(f"vllm:{name}", meaning, ("model_name", "engine"), registry=self._registry)
        gauge.labels(self._model, "0").set_function(lambda: of(engine.snapshot))


def _kv_usage(snapshot: Snapshot) -> float:
    return 1.0 - (snapshot.kv_free + snapshot.kv_cached_idle) / snapshot.kv_total

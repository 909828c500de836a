"""Who is turned away on arrival."""

from types import SimpleNamespace

import pytest

from serving.cost import StepFeatures
from serving.errors import ConfigError, RequestError
from serving.request import Request, RequestState
from serving.schedule.admission.kv_watermark import KvWatermark
from serving.schedule.admission.predicted_ttft import PredictedTtft
from serving.schedule.admission.queue_cap import QueueCap
from serving.schedule.admission.token_bucket import TokenBucket
from serving.schedule.engine import build_scheduler
from serving.view import RequestView
from tests.serving.drive import MILLISECOND_A_TOKEN
from tests.serving.drive import step as drive

SECOND = 1_000_000_000
SMALL = {"block_size": 4, "num_blocks": 20, "max_num_seqs": 1, "max_model_len": 60}


def make(name: str, prompt: int = 1, output: int = 1, **stated) -> Request:
    base = 1000 * (1 + int.from_bytes(name.encode(), "big") % 9973)
    return Request(name, 0, tuple(range(base, base + prompt)), output, **stated)


def test_a_queue_cap_turns_away_exactly_who_finds_it_full() -> None:
    scheduler = build_scheduler("vllm", admission=QueueCap(3))
    for i in range(3):
        scheduler.add(make(f"r{i}"), 0)
    with pytest.raises(RequestError, match="3 requests wait already, the most is 3; try again later"):
        scheduler.add(make("r3"), 0)
    scheduler.schedule(0)
    scheduler.add(make("r4"), 0)


def test_a_kv_watermark_counts_what_is_held_and_what_waits() -> None:
    scheduler = build_scheduler("vllm", settings=SMALL, admission=KvWatermark(0.5))
    scheduler.add(make("a", 16, 2), 0)
    scheduler.add(make("b", 16, 2), 0)
    with pytest.raises(RequestError, match="with it 12 KV blocks are held or waited for, the most is 10"):
        scheduler.add(make("c", 16, 2), 0)
    scheduler.add(make("d", 8, 2), 0)  # exactly the most
    scheduler.abort("d", 0)
    scheduler.schedule(0)
    with pytest.raises(RequestError):
        scheduler.add(make("c", 16, 2), 0)
    scheduler.abort("b", 0)
    scheduler.add(make("c", 16, 2), 0)
    scheduler.abort("c", 0)
    scheduler.abort("a", 0)
    scheduler.add(make("huge", 52, 2), 0)  # nobody else is there


def test_a_kv_watermark_counts_who_gave_way_among_those_that_wait() -> None:
    settings = {"block_size": 2, "num_blocks": 4, "enable_prefix_caching": False}
    scheduler = build_scheduler("vllm", settings=settings, admission=KvWatermark(1.5))
    for name in "ab":
        scheduler.add(make(name, 3, 5), 0)
    while not scheduler.waiting_ids() or scheduler.running_ids() != ["a"]:
        drive(scheduler)
    assert scheduler.snapshot().kv_free == 2  # a holds 3 blocks, b waits for as many
    with pytest.raises(RequestError, match="with it 8 KV blocks are held or waited for, the most is 6"):
        scheduler.add(make("c", 3, 1), 0)


def test_a_token_bucket_admits_its_burst_and_then_its_rate() -> None:
    scheduler = build_scheduler("vllm", admission=TokenBucket(rate=10.0, burst=43))
    scheduler.add(make("a", 15, 5, tenant="x"), 0)
    scheduler.add(make("b", 15, 5, tenant="x"), 0)
    with pytest.raises(RequestError, match="asks for 20 tokens, tenant 'x' has 3 left in its bucket of 43"):
        scheduler.add(make("c", 15, 5, tenant="x"), 0)
    scheduler.add(make("d", 15, 5, tenant="y"), 0)
    with pytest.raises(RequestError):
        scheduler.add(make("e", 15, 5, tenant="x"), 17 * SECOND // 10 - 1)
    scheduler.add(make("f", 15, 5, tenant="x"), 17 * SECOND // 10)
    admitted = 0
    for tenth in range(17, 1017):
        try:
            scheduler.add(make(f"g{tenth}", 3, 1, tenant="x"), tenth * SECOND // 10)
            admitted += 4
        except RequestError:
            pass
    assert abs(admitted - 999) <= 4


def test_predicted_ttft_turns_away_who_would_wait_too_long() -> None:
    scheduler = build_scheduler("vllm", admission=PredictedTtft(0.25), cost=MILLISECOND_A_TOKEN)
    scheduler.add(make("a", 100, 2), 0)
    scheduler.add(make("b", 100, 2), 0)
    with pytest.raises(RequestError, match=r"first token is predicted after 0\.301 s, the target is 0\.25 s"):
        scheduler.add(make("c", 100, 2), 0)
    plan = scheduler.schedule(0)
    scheduler.complete(plan.step_id, [(7,), (7,)], 1)
    scheduler.add(make("c", 100, 2), 1)


def predicting(asked: list[StepFeatures], *running: int, target: float = 1.0) -> PredictedTtft:
    """64 tokens a step at most; a step takes a millisecond a token of its prompt and one more."""
    admission = PredictedTtft(target)
    admission.engine = SimpleNamespace(
        config=SimpleNamespace(max_num_batched_tokens=64),
        running=[SimpleNamespace(num_tokens=num_tokens) for num_tokens in running],
        step_time=lambda step: asked.append(step) or 1_000_000 * (1 + step.prefill_tokens),
    )
    return admission


@pytest.mark.parametrize(("prompt", "milliseconds"), [(11, 32), (44, 65), (48, 65 + 5), (108, 65 + 65)])
def test_predicted_ttft_is_the_time_of_full_steps_and_of_what_is_left(prompt, milliseconds) -> None:
    """Behind 20 tokens that wait, when 30 more were admitted, have left, or were never there."""
    for target, refused in ((milliseconds - 0.001, True), (milliseconds, False)):
        admission = predicting([], target=target / 1000)
        waiting = [RequestView(RequestState.of(make(f"r{n}", n), 100)) for n in (10, 20, 15, 14)]
        for request in waiting:
            admission.arrived(request)
        admission.admitted(waiting[0])
        admission.aborted(waiting[2])
        admission.finished(waiting[3])
        admission.finished(waiting[0])
        assert (admission.refuse(SimpleNamespace(prompt_len=prompt)) is not None) is refused


def test_predicted_ttft_describes_the_step_to_the_cost_model() -> None:
    """A prompt of 10 beside two decodes with 5 and 7 tokens."""
    asked: list[StepFeatures] = []
    assert predicting(asked, 5, 7).refuse(SimpleNamespace(prompt_len=10)) is None
    step = StepFeatures(
        num_seqs=3,
        num_tokens=12,
        num_sampled=3,
        num_prefill_seqs=1,
        prefill_tokens=10,
        prefill_context=0,
        prefill_pairs=55,
        decode_context=12,
    )
    assert asked[-1] == step


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (lambda: QueueCap(0), lambda: QueueCap(-1), "max_waiting is -1"),
        (lambda: KvWatermark(0.01), lambda: KvWatermark(0), "share is 0"),
        (lambda: TokenBucket(0.5), lambda: TokenBucket(0.0), r"rate is 0\.0"),
        (lambda: TokenBucket(1, burst=1), lambda: TokenBucket(1, burst=0), "burst 0"),
        (lambda: PredictedTtft(0.01), lambda: PredictedTtft(0), "ttft_s is 0"),
    ],
)
def test_limits_of_options(good, bad, words) -> None:
    good()
    with pytest.raises(ConfigError, match=words):
        bad()

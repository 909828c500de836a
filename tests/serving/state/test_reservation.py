"""What each reservation rule computes, by worked examples; what it is for is in policies/test_properties.py."""

from types import SimpleNamespace

import pytest

from serving.errors import ConfigError
from serving.state.reservation.full_prompt import FullPrompt
from serving.state.reservation.max_length import MaxLength
from serving.state.reservation.new_token_ratio import NewTokenRatio
from serving.state.reservation.on_demand import OnDemand
from serving.state.reservation.past_future import PastFuture
from serving.state.reservation.predicted_length import PredictedLength
from serving.state.reservation.watermark import Watermark


def bound(reservation, *running, num_blocks: int = 100, block_size: int = 4):
    reservation.engine = SimpleNamespace(
        running=list(running),
        num_blocks=num_blocks,
        config=SimpleNamespace(block_size=block_size),
        blocks_for=lambda num_tokens: -(-num_tokens // block_size),
    )
    return reservation


def view(num_output: int = 0, max_tokens: int = 100, prompt_len: int = 10, predicted_output_len: int = 8):
    return SimpleNamespace(
        num_output=num_output,
        max_tokens=max_tokens,
        prompt_len=prompt_len,
        num_tokens=prompt_len + num_output,
        predicted_output_len=predicted_output_len,
    )


def least_free(reservation, request, held: int, taken: int) -> int:
    """Free blocks with which the request just comes in."""
    return next(free for free in range(5000) if reservation.admits(request, held, taken, free))


def test_a_watermark_counts_only_while_others_run() -> None:
    """int(0.25 * (99 + 1)) = 25 blocks, as vLLM counts its null block in."""
    assert least_free(bound(OnDemand(watermark=0.25), num_blocks=99), view(), 8, 2) == 2
    assert least_free(bound(OnDemand(watermark=0.25), view(), num_blocks=99), view(), 8, 2) == 27
    assert least_free(bound(OnDemand(watermark=0.25), view(), num_blocks=98), view(), 8, 2) == 26
    assert least_free(bound(Watermark(), view()), view(), 8, 2) == 3


@pytest.mark.parametrize("make", [lambda: OnDemand(whole_prompt=True), FullPrompt])
def test_a_whole_prompt_must_fit_though_only_a_chunk_is_held(make) -> None:
    request = view(prompt_len=30)
    assert make().hold(request, 8) == 8
    assert least_free(bound(make()), request, held=8, taken=2) == 8
    assert least_free(bound(make()), request, held=32, taken=3) == 3


def test_what_is_held_on_admission() -> None:
    request = view(prompt_len=30, num_output=2, max_tokens=50)
    assert FullPrompt(hold_it=True).hold(request, 8) == 32
    assert FullPrompt(hold_it=True).hold(request, 40) == 40
    assert MaxLength().hold(request, 8) == 80
    assert bound(PredictedLength()).hold(request, 8) == 38
    assert bound(PredictedLength(margin=0.25)).hold(request, 8) == 40
    assert bound(PredictedLength()).hold(request, 50) == 50
    assert bound(PredictedLength(), num_blocks=9).hold(request, 8) == 36


def test_new_token_ratio_leaves_room_for_a_share_of_what_running_requests_may_produce() -> None:
    """80 and, cut, 4,096 tokens to come, of which half; own 50 in full, a block of 4, and the 3 taken: 2,154 tokens."""
    reservation = bound(NewTokenRatio(), view(20, 100), view(0, 9000))
    reservation.ratio = 0.5
    assert least_free(reservation, view(10, 60), 12, taken=3) == 539  # 2,156 tokens
    assert least_free(reservation, view(8, 60), 12, taken=3) == 540  # exactly full is too full
    assert least_free(reservation, view(0, 9000), 12, taken=3) == (12 + 4096 + 4 + 2088) // 4 + 1
    assert least_free(bound(NewTokenRatio()), view(0, 9000), 12, taken=3) == 3


@pytest.mark.parametrize(("conservativeness", "initial"), [(0.5, 0.35), (1.0, 0.7), (2.0, 1.0)])
def test_new_token_ratio_sinks_in_600_steps_and_starts_again_when_idle(conservativeness, initial) -> None:
    reservation = bound(NewTokenRatio(conservativeness), view())
    quiet = SimpleNamespace(preempted=(), admitted=())
    assert reservation.ratio == initial
    reservation.observe(SimpleNamespace(preempted=(), admitted=("r",)), None)
    assert reservation.ratio == initial
    for _ in range(300):
        reservation.observe(quiet, None)
    assert reservation.ratio == pytest.approx(initial * (1 + 0.14) / 2)
    for _ in range(400):
        reservation.observe(quiet, None)
    assert reservation.ratio == pytest.approx(initial * 0.14)
    reservation.engine.running.clear()
    reservation.observe(quiet, None)
    assert reservation.ratio == initial


def test_new_token_ratio_after_a_preemption_is_what_was_produced_and_20_steps_more() -> None:
    reservation = bound(NewTokenRatio(), view(30, 200), view(10, 299))
    reservation.observe(SimpleNamespace(preempted=("r",), admitted=()), None)
    assert reservation.ratio == (30 + 10 + 20 * 2) / (200 + 299 + 1)
    reservation.engine.running[:] = [view(190, 200)]
    reservation.observe(SimpleNamespace(preempted=("r",), admitted=()), None)
    assert reservation.ratio == 1.0


def test_past_future_expects_a_quantile_of_the_recent_outputs_that_are_longer() -> None:
    reservation = PastFuture(window=5, quantile=0.5)
    assert reservation.expected_output(view(0, 70)) == 70
    for length in (90, 90, 10, 40, 20, 30, 50):
        reservation.finished(view(length))
    assert reservation.expected_output(view(0)) == 30  # of 10, 20, 30, 40, 50
    assert reservation.expected_output(view(20)) == 40  # of 30, 40, 50
    assert reservation.expected_output(view(0, 25)) == 25
    assert reservation.expected_output(view(50, 70)) == 70  # longer than all of late
    reservation.quantile = 1.0
    assert reservation.expected_output(view(20)) == 50
    for length in (7, 7, 7, 7):
        reservation.finished(view(length))
    assert reservation.expected_output(view(10)) == 50
    reservation.finished(view(7))
    assert reservation.expected_output(view(10)) == 100


def test_past_future_admits_if_the_peak_fits() -> None:
    """14 and 10 tokens are stored, and both go on for 6 steps: 36 tokens at the end, 9 blocks."""
    for num_blocks, admitted in ((8, False), (9, True)):
        reservation = bound(PastFuture(reserve=0.0), view(4, 100, 10), num_blocks=num_blocks)
        reservation.finished(view(10))
        assert reservation.admits(view(0, 6, 10), 12, 3, 3) is admitted
        assert not reservation.admits(view(0, 6, 10), 12, 3, 2)
    kept_free = bound(PastFuture(reserve=0.2), view(4, 100, 10), num_blocks=11)
    kept_free.finished(view(10))
    assert not kept_free.admits(view(0, 6, 10), 12, 3, 3)
    kept_free.engine.num_blocks = 12
    assert kept_free.admits(view(0, 6, 10), 12, 3, 3)
    nearly_done = bound(PastFuture(reserve=0.0), view(6, 100, 10), num_blocks=7)
    nearly_done.finished(view(10))
    assert nearly_done.admits(view(0, 1, 10), 12, 3, 3)  # 17 and 11 tokens after the next step
    assert bound(PastFuture(reserve=0.9), num_blocks=4).admits(view(), 12, 3, 3)
    assert not bound(PastFuture(), num_blocks=4).admits(view(), 12, 3, 2)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (OnDemand, {"watermark": 0.0}, {"watermark": 1.0}),
        (OnDemand, {"watermark": 0.99}, {"watermark": -0.01}),
        (NewTokenRatio, {"conservativeness": 0.01}, {"conservativeness": 0.0}),
        (PredictedLength, {"margin": 0.0}, {"margin": -0.01}),
        (PastFuture, {"window": 1}, {"window": 0}),
        (PastFuture, {"quantile": 1.0}, {"quantile": 1.01}),
        (PastFuture, {"quantile": 0.01}, {"quantile": 0.0}),
        (PastFuture, {"reserve": 0.0}, {"reserve": -0.01}),
        (PastFuture, {"reserve": 0.99}, {"reserve": 1.0}),
    ],
)
def test_limits_of_options(kind, good, bad) -> None:
    kind(**good)
    [(option, value)] = bad.items()
    with pytest.raises(ConfigError, match=f"{option}.* {value}"):
        kind(**bad)

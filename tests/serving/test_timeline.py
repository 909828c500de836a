"""The parts of TTFT and E2E: exact, complete, and where the definition puts them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.metrics.timeline import timelines
from serving.schedule.contract import Admission, Outcome, Plan, Snapshot, StepReceipt

NOTHING = Snapshot(0, 0, 0, 0, 0, 0, 0, 0)


def receipt(step_id, schedule_at, launch_at, host_at, delivered_at, batch) -> StepReceipt:
    """batch: request id -> tokens accepted."""
    ids = tuple(batch)
    plan = Plan(
        step_id=step_id,
        request_ids=ids,
        starts=(0,) * len(ids),
        num_tokens=(1,) * len(ids),
        samples=tuple(n > 0 for n in batch.values()),
        prompt_lens=(1,) * len(ids),
        admitted=tuple(Admission(i, (1,), 0) for i in ids),
        new_blocks=(),
        preempted=(),
        released=(),
    )
    outcome = Outcome(tuple(batch.values()), ())
    return StepReceipt(plan, outcome, NOTHING, schedule_at, launch_at, host_at, delivered_at)


def test_each_instant_is_in_the_part_that_the_definition_names() -> None:
    receipts = [
        receipt(0, 90, 95, 110, 112, {"other": 1}),  # a waits
        receipt(1, 112, 120, 150, 150, {"a": 0}),  # a chunk that samples nothing
        receipt(2, 150, 153, 160, 161, {"other": 1}),  # a is passed over
        receipt(3, 161, 165, 190, 197, {"a": 1, "other": 1}),
        receipt(4, 192, 200, 230, 233, {"a": 1}),
    ]
    a = timelines({"a": 100, "other": 80}, receipts)["a"]
    assert (a.queue, a.schedule, a.prefill, a.return_) == (12 + 11, 8 + 4, 30 + 25, 7)
    assert (a.ttft, a.decode, a.stream, a.e2e) == (97, 230 - 197, 3, 133)
    assert a.tpot == 233 - 197


def test_a_single_token_has_no_decode_and_its_delay_counts_once() -> None:
    a = timelines({"a": 0}, [receipt(0, 5, 6, 10, 14, {"a": 1})])["a"]
    assert (a.return_, a.decode, a.stream, a.tpot) == (4, 0, 0, None)
    assert a.ttft == a.e2e == 14


def test_steps_in_flight_together_are_not_counted_twice() -> None:
    """Async scheduling: step 1 is scheduled while step 0 executes."""
    receipts = [receipt(0, 0, 10, 30, 31, {"a": 0}), receipt(1, 12, 15, 50, 51, {"a": 1})]
    a = timelines({"a": 0}, receipts)["a"]
    assert (a.queue, a.schedule, a.prefill, a.return_) == (0, 10, 40, 1)


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_parts_sum_to_the_whole(data) -> None:
    ids = ["a", "b", "c"]
    arrivals = {i: data.draw(st.integers(0, 50)) for i in ids}
    receipts, now = [], 50
    gap = st.integers(0, 20)
    delivered = 0
    for k in range(data.draw(st.integers(1, 12))):
        schedule_at = now + data.draw(gap)
        launch_at = schedule_at + data.draw(gap)
        host_at = launch_at + data.draw(gap)
        delivered = max(delivered, host_at + data.draw(st.integers(0, 60)))  # may outlast the next steps
        members = data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=1))
        batch = {i: data.draw(st.integers(0, 1)) for i in members}
        receipts.append(receipt(k, schedule_at, launch_at, host_at, delivered, batch))
        now = host_at
    for t in timelines(arrivals, receipts).values():
        parts = (t.queue, t.schedule, t.prefill, t.return_, t.decode, t.stream)
        assert min(parts) >= 0
        assert t.queue + t.schedule + t.prefill + t.return_ == t.ttft
        assert t.ttft + t.decode + t.stream == t.e2e

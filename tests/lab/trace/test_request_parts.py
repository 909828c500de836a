"""The slices of a request before its first token: a partition, by the rule and with the sums of
serving.metrics.timeline."""

from hypothesis import given
from hypothesis import strategies as st

from lab.trace.request_parts import Span, StepTimes, before_first_token, decode_intervals


@st.composite
def some_steps(draw: st.DrawFn) -> list[StepTimes]:
    steps = []
    for n in range(draw(st.integers(0, 6))):
        schedule = draw(st.integers(0, 60))
        launch = schedule + draw(st.integers(0, 10))
        steps.append(StepTimes(schedule, launch, launch + draw(st.integers(0, 20)), n, n))
    return steps


def part_at(instant: int, steps: list[StepTimes]) -> str:
    """The rule, read aloud."""
    if any(s.launch <= instant < s.host for s in steps):
        return "prefill"
    return "schedule" if any(s.schedule <= instant < s.launch for s in steps) else "queue"


@given(some_steps(), st.integers(0, 40), st.integers(0, 80))
def test_every_instant_is_in_the_slice_that_the_rule_says(steps: list[StepTimes], arrival: int, length: int) -> None:
    until = arrival + length
    spans = list(before_first_token(arrival, until, steps))
    at = arrival
    for span in spans:
        assert span.start == at
        assert span.end > span.start
        assert {part_at(instant, steps) for instant in range(span.start, span.end)} == {span.name}
        at = span.end
    assert at == until


def test_a_prompt_in_two_chunks_that_waits_in_between() -> None:
    chunks = [StepTimes(10, 12, 20, 0, 0), StepTimes(30, 31, 40, 3, 3)]
    assert list(before_first_token(5, 40, chunks)) == [
        Span("queue", 5, 10),
        Span("schedule", 10, 12, chunks[0]),
        Span("prefill", 12, 20, chunks[0]),
        Span("queue", 20, 30),
        Span("schedule", 30, 31, chunks[1]),
        Span("prefill", 31, 40, chunks[1]),
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 3)), min_size=1), st.integers(0, 20))
def test_intervals_between_tokens_fill_decode(later: list[tuple[int, int]], behind: int) -> None:
    """The last token may be on the host long before its client holds it; decode ends there."""
    deliveries = sorted(later)
    first = deliveries[0][0]
    on_host = max(first, deliveries[-1][0] - behind)
    spans = list(decode_intervals(first, on_host, deliveries))
    at = first
    for span in spans:
        assert span.start == at < span.end
        at = span.end
    assert at == (on_host if len(deliveries) > 1 else first)

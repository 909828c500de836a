"""Mid-stream cancels among requests that go on, as vLLM tests its own engine (tests/v1/engine/test_async_llm.py).

With a runner that computes nothing and with a transformer of two small layers, one step or two in flight.
"""

from collections.abc import Iterator

import pytest

from realexec.engine import PlanRunner
from tests.realexec.driven import Driven, asked
from tests.realexec.overlapping import Overlapping

LONG = 900
"""Output tokens of those that are cancelled; the small model has 1,024 positions."""
NUM_BLOCKS = 1100


@pytest.fixture(params=[False, True], ids=["one", "two"])
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return {
        "max_model_len": 1024,
        "num_blocks": NUM_BLOCKS,
        "max_num_batched_tokens": 256,
        "async_scheduling": request.param,
    }


@pytest.fixture(params=["fake", "transformer"])
def runner(request: pytest.FixtureRequest) -> Iterator[PlanRunner]:
    if request.param == "fake":
        yield Overlapping(0.0)
        return
    pytest.importorskip("torch")
    from tests.realexec.server.served import tiny_world

    it = tiny_world(NUM_BLOCKS).runner
    yield it
    it.forget([f"r{i:03}" for i in range(100)])


def names(count: int) -> list[str]:
    return [f"r{i:03}" for i in range(count)]


def test_cancelled_requests_leave_the_others_exactly_what_they_asked_for(
    runner: PlanRunner, settings: dict[str, object]
) -> None:
    """100 requests of 100 tokens, every tenth much longer and cancelled on the way; an id can be used again."""
    everybody = names(100)
    long = set(everybody[::10])
    with Driven(runner, **settings) as it:
        for name in everybody:
            it.engine.submit(asked(name, max_tokens=LONG if name in long else 100))
        for i, name in enumerate(sorted(long)):
            it.read_until(lambda i=i: it.num_steps > 5 * (i + 1))
            it.engine.abort(name)
        it.read_until(lambda: len(it.finished) == 90)
        assert set(it.finished) == set(everybody) - long
        assert {it.tokens[name] for name in it.finished} == {100}
        assert all(0 < it.tokens[name] < LONG for name in long)
        for name in long:
            it.engine.submit(asked(name, max_tokens=2))
        it.finish()
    assert set(it.finished[90:]) == long


def test_several_are_cancelled_at_once(runner: PlanRunner, settings: dict[str, object]) -> None:
    everybody = names(50)
    with Driven(runner, **settings) as it:
        for name in everybody:
            it.engine.submit(asked(name, max_tokens=60))
        it.read_until(lambda: it.num_steps > 5)
        for name in everybody[:5]:
            it.engine.abort(name)
        it.read_until(lambda: len(it.finished) == 45)
        it.finish()
    assert all(it.tokens[name] > 0 for name in everybody[:5])
    assert sorted(it.finished) == everybody[5:]


def test_every_stream_is_cancelled_after_so_many_tokens(runner: PlanRunner, settings: dict[str, object]) -> None:
    everybody = names(100)
    left = set(everybody)
    with Driven(runner, **settings) as it:
        for name in everybody:
            it.engine.submit(asked(name, max_tokens=LONG))
        while left:
            it.read()
            for name in [n for n in left if it.tokens.get(n, 0) >= 20]:
                it.engine.abort(name)
                left.remove(name)
        it.finish()
        assert it.engine.snapshot.num_running == 0
    assert it.finished == []

"""Sessions and named prefixes, made smaller or larger: history is still history."""

from hypothesis import given
from hypothesis import strategies as st

from workloads.rescale import rescale
from workloads.workload import Workload, WorkloadRequest

own_and_output = st.tuples(st.integers(1, 400), st.integers(1, 200))


def session(turns: list[tuple[int, int]], prefix: int) -> list[WorkloadRequest]:
    made: list[WorkloadRequest] = []
    for i, (own, output) in enumerate(turns):
        history = made[-1].prompt_len + made[-1].output_len if made else prefix
        made.append(
            WorkloadRequest(
                str(i),
                0,
                history + own,
                output,
                output + 2,
                turn=i + 1,
                parent=(str(i - 1),) if i else (),
                prefix=(("system", prefix),) if prefix and not i else (),
            )
        )
    return made


@given(
    st.lists(own_and_output, min_size=1, max_size=6),
    st.integers(0, 300),
    st.floats(0.002, 3),
    st.none() | st.integers(1, 900),
    st.randoms(use_true_random=False),
)
def test_a_session_stays_one(turns, prefix, scale, max_len, random) -> None:
    given_order = session(turns, prefix)
    random.shuffle(given_order)
    scaled, notes = rescale(given_order, scale, max_len)
    load = Workload("w", scaled)  # checks that each turn has room for its history
    assert [r.turn for r in sorted(load.requests, key=lambda r: r.turn)] == list(range(1, len(load.requests) + 1))
    assert max_len is None or all(r.prompt_len <= max_len for r in scaled)
    assert any("left out" in note for note in notes) == (len(scaled) < len(turns))


def test_worked_example() -> None:
    first, second = rescale(session([(100, 50), (30, 20)], prefix=40), 0.1, None)[0]
    assert (first.prefix, first.prompt_len, first.output_len) == ((("system", 4),), 14, 5)
    assert (second.prompt_len, second.output_len) == (14 + 5 + 3, 2)
    (only,), notes = rescale(session([(100, 50), (30, 20)], prefix=40), 1.0, 60)
    assert (only.prefix, only.prompt_len) == ((("system", 40),), 60)
    # the cut first prompt leaves room for neither output nor new text
    assert notes == [
        "1 of 2 prompts cut to 60 tokens",
        "1 requests left out: later turns above 60 tokens, and what waits for them",
    ]
    (cut,), _ = rescale(session([(100, 50)], prefix=40), 1.0, 30)
    assert (cut.prefix, cut.prompt_len) == ((("system", 30),), 30)

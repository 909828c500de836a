"""A step's arrays reach the device as they were; what fills a layout up stores and reads nothing."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("numba")

from hypothesis import given, settings
from hypothesis import strategies as st

from realexec.attention.base import RaggedBatch
from realexec.gpu.layout import ALIGNMENT, Layout, StepBuffer
from realexec.sampling import Draws
from realexec.sequences import Awaited, StepInputs


def step(lengths: list[int], width: int, samples: list[bool]) -> StepInputs:
    rng = np.random.default_rng(sum(lengths))
    tokens, seqs = sum(lengths), len(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = starts[1:][np.flatnonzero(samples)] - 1
    awaited = np.flatnonzero(rng.integers(0, 2, seqs))
    drawn = rng.integers(0, 9, (4, len(rows)))
    return StepInputs(
        step_id=0,
        copies=(),
        token_ids=rng.integers(0, 1000, tokens),
        awaited=Awaited(starts[1:][awaited] - 1, rng.integers(0, 9, len(awaited))),
        positions=rng.integers(0, 1000, tokens),
        batch=RaggedBatch(
            query_starts=starts.astype(np.int32),
            context_lens=rng.integers(1, 99, seqs).astype(np.int32),
            block_tables=rng.integers(0, 99, (seqs, width)).astype(np.int32),
            slots=rng.integers(0, 10**12, tokens),
        ),
        samples=tuple(samples),
        sample_rows=rows,
        draws=Draws(
            *(row.astype(kind) for row, kind in zip(drawn, (np.float32, np.int32, np.float32, np.uint64), strict=True))
        ),
        never=(),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    width=st.integers(1, 5),
    data=st.data(),
    spare=st.tuples(*[st.integers(0, 5)] * 3),
)
def test_arrays_arrive(lengths, width, data, spare) -> None:
    samples = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    inputs = step(lengths, width, samples)
    tokens, seqs, sampled = len(inputs.token_ids), len(lengths), len(inputs.sample_rows)
    layout = Layout(tokens + spare[0], seqs + spare[1], sampled + spare[2], width + 3)
    largest = Layout(200, 20, 20, 16)
    arrays = StepBuffer(largest, torch.device("cpu")).put(inputs, layout, is_decode=False)
    for name, sent in (
        ("token_ids", inputs.token_ids),
        ("positions", inputs.positions),
        ("slots", inputs.batch.slots),
        ("sample_rows", inputs.sample_rows),
        ("query_starts", inputs.batch.query_starts),
        ("context_lens", inputs.batch.context_lens),
        ("awaited_rows", inputs.awaited.rows),
        ("awaited_places", inputs.awaited.places),
        ("words", inputs.draws.words.view(np.int64)),
        ("temperatures", inputs.draws.temperatures),
        ("top_ks", inputs.draws.top_ks),
        ("top_ps", inputs.draws.top_ps),
    ):
        np.testing.assert_array_equal(getattr(arrays, name)[: len(sent)], sent, err_msg=name)
        assert getattr(arrays, name).data_ptr() % ALIGNMENT == 0
    np.testing.assert_array_equal(arrays.block_tables[:seqs, :width], inputs.batch.block_tables)
    assert (arrays.slots[tokens:] == -1).all(), "padding would be stored"
    assert (arrays.context_lens[seqs:] == 0).all(), "padding would read KV"
    assert (arrays.query_starts[seqs:] == tokens).all(), "padding would have queries"
    assert (arrays.sample_rows[sampled:] < layout.tokens).all() or layout.samples > layout.tokens


def test_a_step_stays_on_the_host_while_the_next_is_written() -> None:
    """On a device the copy of one may not have begun when the next is put; there are never three."""
    layout = Layout(8, 8, 8, 16)
    buffer = StepBuffer(layout, torch.device("cpu"))
    memories = [outbox._memory for outbox in buffer._outboxes]
    for lengths, untouched in (([1] * 3, memories[1]), ([1] * 5, memories[0]), ([1] * 7, memories[1])):
        before = untouched.clone()
        buffer.put(step(lengths, 3, [True] * len(lengths)), layout, is_decode=True)
        assert torch.equal(untouched, before)
    assert not torch.equal(*memories)


def test_equal_layouts_have_equal_addresses() -> None:
    """What a captured graph reads."""
    buffer = StepBuffer(Layout(64, 16, 16, 16), torch.device("cpu"))
    layout = Layout(8, 8, 8, 16)
    first = buffer.put(step([1] * 5, 3, [True] * 5), layout, is_decode=True)
    second = buffer.put(step([1] * 8, 7, [True] * 8), layout, is_decode=True)
    assert first.token_ids.data_ptr() == second.token_ids.data_ptr()
    assert first.block_tables.data_ptr() == second.block_tables.data_ptr()
    assert second.block_tables.stride() == first.block_tables.stride()

"""What a client sends to a server and keeps of its answer; on streams as servers write them, and on a server."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hardware_check.client.prompts import body_of, permutation
from lab.hardware_check.client.record import COLUMNS, read_client_run, table_of, write_client_run
from lab.hardware_check.client.sending import ClientRun, Sent, send
from lab.hardware_check.client.server import Server, base_of, look_at
from lab.hardware_check.client.servers import Servers, urls_by_cell
from lab.hardware_check.client.stream import Answer
from lab.hardware_check.contest import choose
from records.schema import REQUESTS
from serving.errors import BlockedError, ConfigError, MeasurementError, RecordError
from tests.lab.hardware_check.made import standing
from workloads.request import WorkloadRequest
from workloads.workload import Workload

pytest.importorskip("httpx")


def requests(count: int = 4, gap_ns: int = 20_000_000, output_len: int = 3) -> Workload:
    made = [
        WorkloadRequest(f"r{i}", i * gap_ns, 20, output_len, output_len, prefix=(("system", 16),)) for i in range(count)
    ]
    return Workload("few", tuple(made))


def event(**what: object) -> bytes:
    return b"data: " + json.dumps(what).encode() + b"\n\n"


STREAM = [event(choices=[{"text": text}]) for text in ("a", "b", "c")]
END = [event(choices=[], usage={"completion_tokens": 3}), b"data: [DONE]\n\n"]


@given(st.lists(st.integers(0, 200), max_size=12))
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    data = b": a comment\n\n" + b"".join([*STREAM, *END])
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    answer = Answer()
    for i, (begin, end) in enumerate(pairwise(places)):
        answer.feed(data[begin:end], i)
    assert (answer.tokens, answer.done, answer.error) == (3, True, None)
    assert answer.first_at is not None
    assert answer.last_at is not None
    ends = [data.index(part) + len(part) - 1 for part in (STREAM[0], STREAM[-1])]
    held = [next(i for i, end in enumerate(places[1:]) if end >= where) for where in ends]
    assert [answer.first_at, answer.last_at] == held


def test_an_error_in_a_stream_is_kept_and_nonsense_is_refused() -> None:
    answer = Answer()
    answer.feed(event(error={"message": "out of memory"}), 0)
    assert answer.error == "out of memory"
    for nonsense in (b"data: {\n", b"data: [1]\n"):
        with pytest.raises(ValueError, match=r"Expecting|no object"):
            Answer().feed(nonsense, 0)


@given(st.integers(0, 1 << 53), st.integers(0, 1 << 53))
def test_renamed_prompts_share_what_they_shared_and_nothing_with_another_run(one: int, other: int) -> None:
    workload = requests()
    first, second = permutation(workload, one), permutation(workload, other)
    assert sorted(first) == sorted(first.values())
    sent = [body_of(request, first, "m")["prompt"] for request in workload.requests]
    again = [body_of(request, second, "m")["prompt"] for request in workload.requests]
    assert all(prompt[:16] == sent[0][:16] for prompt in sent), "a common prefix stays common"
    assert len({tuple(prompt) for prompt in sent}) == len(sent)
    if first != second and any(first[t] != second[t] for t in range(3, 259) if t in first):
        assert sent != again or one == other


def test_what_a_request_asks_for() -> None:
    request = replace(requests(1).requests[0], priority=3, tenant="gold")
    body = body_of(request, permutation(requests(1), 1), "m")
    assert body["max_tokens"] == request.output_len
    assert body["ignore_eos"] is True
    assert (body["priority"], body["user"]) == (3, "gold")
    assert "priority" not in body_of(requests(1).requests[0], permutation(requests(1), 1), "m")


Answers = Callable[[dict[str, object]], tuple[int, list[bytes]]]
"""What is asked to the status and the parts of the body."""


@contextmanager
def server(answer: Answers, delay_s: float = 0.0) -> Iterator[str]:
    """One that answers every completion with a status and the parts of a body, a moment between them."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                sizes = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                body = await reader.readexactly(int(sizes[0].split(b":")[1])) if sizes else b""
                if head.startswith(b"GET /v1/models"):
                    status, parts = 200, [b'{"data": [{"id": "some-model"}]}']
                elif head.startswith(b"GET"):
                    status, parts = 404, [b"{}"]
                else:
                    status, parts = answer(json.loads(body))
                writer.write(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
                for part in parts:
                    writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                    await writer.drain()
                    await asyncio.sleep(delay_s)
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
    await asyncio.sleep(0)


def good(asked: dict[str, object]) -> tuple[int, list[bytes]]:
    count = asked["max_tokens"]
    assert isinstance(count, int)
    parts = [event(choices=[{"text": "x"}]) for _ in range(count)]
    return 200, [*parts, event(choices=[], usage={"completion_tokens": count}), b"data: [DONE]\n\n"]


def test_a_run_is_sent_when_it_is_due_and_kept_as_a_client_saw_it(tmp_path: Path) -> None:
    workload = requests()
    with server(good, delay_s=0.002) as url:
        found = look_at(url + "/v1/")
        assert found == Server(url, "some-model", "")
        run = send(workload, found, salt=1)
    assert all(sent.reason is None and sent.tokens == 3 for sent in run.sent)
    for sent in run.sent:
        assert sent.sent_at is not None
        assert sent.first_at is not None
        assert sent.last_at is not None
        assert sent.request.arrival_time <= sent.sent_at < sent.first_at < sent.last_at
    record = write_client_run(tmp_path / "run", "a cell", workload, found, run)
    again = read_client_run(tmp_path / "run")
    assert again.manifest == record.manifest
    assert again.summary["num_requests"]["finished"] == 4
    frame = again.requests
    assert (frame["ttft_s"] > 0).all()
    assert (frame["tpot_s"] > 0).all()
    assert frame["queue_s"].isna().all()
    assert frame["num_preemptions"].isna().all()
    assert again.summary["queue"] is None
    assert record.manifest.client.late_max_s >= record.manifest.client.late_p99_s >= 0
    (tmp_path / "run" / "summary.json").write_text("{}")
    with pytest.raises(RecordError, match=r"summary\.json: damaged"):
        read_client_run(tmp_path / "run")


def test_the_table_has_the_columns_of_a_run_record() -> None:
    assert COLUMNS.names == [*REQUESTS.names, "sent_s"]
    workload = Workload("slo", tuple(replace(r, ttft_slo=50, tpot_slo=10) for r in requests(4).requests))
    first = workload.requests[0]
    sent = [
        Sent(first, 0, 50, 70, 3),
        Sent(first, 0, 51, 60, 3),
        Sent(first, 0, 50, 71, 3),
        Sent(first, 0, refused=True, reason="429: full"),
    ]
    table = table_of(sent).to_pydict()
    assert table["slo_met"] == [True, False, False, False]
    assert table["status"] == ["finished"] * 3 + ["rejected"]
    assert table["ttft_s"] == [50e-9, 51e-9, 50e-9, None]
    assert table["tpot_s"][0] == pytest.approx(10e-9)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda asked: (400, [b"token ids are not supported"]), r"refuses a completion of token ids.*400: token ids"),
        (lambda asked: (200, [event(error={"message": "broken"})]), "answers with an error: broken"),
        (lambda asked: (200, [event(choices=[{"text": "x"}])]), "does not say how many tokens"),
        (lambda asked: (200, [*STREAM, *END]), "gave 3 tokens of 2"),
        (lambda asked: (200, [b"data: <html>\n\n"]), "something else than events"),
    ],
)
def test_a_server_that_does_not_do_what_a_run_needs_is_told_before_the_run(answer: Answers, told: str) -> None:
    with server(answer) as url, pytest.raises(ConfigError, match=told):
        look_at(url)


def test_a_server_that_is_not_there_blocks() -> None:
    with pytest.raises(BlockedError, match="no server answers there"):
        look_at("http://127.0.0.1:9")


def test_an_answer_that_breaks_off_is_no_measurement_and_leaves_nothing(tmp_path: Path) -> None:
    asked_for = []

    def answer(asked: dict[str, object]) -> tuple[int, list[bytes]]:
        asked_for.append(asked)
        return (200, [STREAM[0], *END]) if len(asked_for) == 1 else (200, STREAM[:1])

    one = choose(standing(tmp_path), 1, worst=True)[0]
    with server(answer) as url:
        servers = Servers({one.name: Server(url, "some-model", "")}, None)
        with pytest.raises(
            MeasurementError, match=r"3 of 4 requests had no whole answer; request r1: .*unknown number"
        ):
            servers.run(tmp_path / "run", one, requests())
    assert not (tmp_path / "run").exists()


def test_a_server_that_turns_some_away_is_a_measurement_of_that(tmp_path: Path) -> None:
    asked_for = []

    def answer(asked: dict[str, object]) -> tuple[int, list[bytes]]:
        asked_for.append(asked)
        return good(asked) if len(asked_for) % 2 else (503, [b"full"])

    one = choose(standing(tmp_path), 1, worst=True)[0]
    with server(answer) as url:
        record = Servers({one.name: Server(url, "m", "")}, None).run(tmp_path / "run", one, requests())
    assert record.summary["num_requests"]["rejected"] == 2
    assert record.requests["reason"].dropna().tolist() == ["503: full"] * 2


def test_addresses_and_the_cells_they_are_for(tmp_path: Path) -> None:
    assert base_of("http://h:1/v1/") == "http://h:1"
    for bad in ("ftp://h", "h:1", "http://user:secret@h", "http://h?x=1"):
        with pytest.raises(ConfigError, match="--url") as error:
            base_of(bad)
        assert "secret" not in str(error.value)
    cells = choose(standing(tmp_path), 2, worst=True)
    given = ["1=http://a:1", "one seat=https://b:2/v1"]
    assert urls_by_cell(given, cells) == {"many seats": "http://a:1", "one seat": "https://b:2/v1"}
    for wrong, told in (
        (["http://a:1"], "does not say which cell.*3: one seat"),
        (["1=http://a:1", "many seats=http://b:1"], "twice for cell many seats"),
        (["two seat=http://a:1"], "did you mean two seats"),
        (["1=a:1"], "give .NAME=.URL"),
    ):
        with pytest.raises(ConfigError, match=told):
            urls_by_cell(wrong, cells)


def test_the_client_says_when_it_is_too_slow() -> None:
    from lab.hardware_check.client.record import Punctuality

    first = requests(1).requests[0]
    run = ClientRun([Sent(first, 1_000_000)], 0, [2_000_000] * 9)
    assert not Punctuality.of(run).is_saturated
    assert Punctuality.of(ClientRun([Sent(first, 20_000_000)], 0)).is_saturated
    assert Punctuality.of(ClientRun([Sent(first, 0)], 0, [20_000_000])).is_saturated


def test_the_table_is_readable_without_us(tmp_path: Path) -> None:
    pq.write_table(table_of([Sent(requests(1).requests[0], 0, 5, 9, 3)]), tmp_path / "t.parquet")
    units = {f.name: (f.metadata or {}).get(b"unit") for f in pq.read_schema(tmp_path / "t.parquet")}
    assert units["ttft_s"] == units["sent_s"] == b"s"

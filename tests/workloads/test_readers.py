"""Formats of public traces: what is read is what is published, sessions wait for themselves, nothing is lost unsaid."""

import json
from pathlib import Path

import pytest

from serving.errors import ConfigError, WorkloadError
from workloads.formats import ReadOptions
from workloads.traces import read_trace

BURST_1 = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
BURST_2 = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def letters(text: str) -> list[int]:
    """A token a letter."""
    return [ord(letter) for letter in text]


TEXTS = ReadOptions(tokenizer=letters)


def put(folder: Path, name: str, *lines: object) -> Path:
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / name).write_text(text)
    return folder / name


def test_azure_2024(tmp_path: Path) -> None:
    place = put(
        tmp_path,
        "week.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n",
        "2024-05-10 00:00:00.009930+00:00,2162,5\n",
        "2024-05-10 00:00:01+00:00,2399,6\n",
        "2024-05-10 00:00:01.0179310Z,76,15\n",
    )
    assert [r.arrival_time for r in read_trace(place)[0].requests] == [0, 990_070_000, 1_008_001_000]


def test_burstgpt(tmp_path: Path) -> None:
    place = put(
        tmp_path,
        "b.csv",
        BURST_1,
        "5,ChatGPT,472,18,490,Conversation log\n",
        "45.25,GPT-4,1087,230,1317,API log\n",
        "118.0,GPT-4,417,276,693,Conversation log\n",
    )
    load, notes = read_trace(place)
    assert notes == []
    assert [(r.arrival_time, r.prompt_len, r.output_len, r.session_id) for r in load.requests] == [
        (0, 472, 18, ""),
        (40_250_000_000, 1087, 230, ""),
        (113_000_000_000, 417, 276, ""),
    ]
    chosen, notes = read_trace(place, where={"Model": "GPT-4", "Log Type": "Conversation log"})
    assert [r.prompt_len for r in chosen.requests] == [417]
    assert notes == ["2 requests with other values in the columns of --where left out"]
    with pytest.raises(ConfigError, match=r"--where Modell: no such column; did you mean Model"):
        read_trace(place, where={"Modell": "GPT-4"})
    with pytest.raises(WorkloadError, match="no request in this trace has the values of --where"):
        read_trace(place, where={"Model": "GPT-5"})


def test_burstgpt_with_sessions(tmp_path: Path) -> None:
    place = put(
        tmp_path,
        "b.csv",
        BURST_2,
        "19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n",
        "19440161.5,,2,ChatGPT,36,0,36,API log\n",
        "19440192.0,1722ac82,8,GPT-4,1779,123,1902,Conversation log\n",
    )
    with pytest.raises(WorkloadError, match=r"b.csv:3: 36 prompt and 0 output .*--drop-invalid"):
        read_trace(place)
    load, notes = read_trace(place, drop_invalid=True)
    assert notes == ["1 requests of zero tokens left out"]
    assert [(r.arrival_time, r.session_id, r.parent) for r in load.requests] == [
        (0, "1722ac82", ()),
        (82_000_000_000, "1722ac82", ()),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5,ChatGPT,472,18,490\n", "b.csv:2: 5 columns, expected 6"),
        ("-5,ChatGPT,472,18,490,API log\n", "Timestamp '-5' is not a number of seconds"),
        ("5,ChatGPT,472.5,18,490,API log\n", "Request tokens '472.5' is not a number of tokens"),
    ],
)
def test_burstgpt_lines_that_are_wrong(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        read_trace(put(tmp_path, "b.csv", BURST_1, line))


def said(*messages: tuple[str, str], name: str = "c") -> dict:
    return {"id": name, "conversations": [{"from": role, "value": text} for role, text in messages]}


def test_a_conversation_is_a_session(tmp_path: Path) -> None:
    talk = said(("human", "abcd"), ("gpt", "xyz"), ("human", "ef"), ("gpt", "uvwxy"), ("human", "g"))
    place = put(tmp_path, "s.json", [talk])
    load, notes = read_trace(place, rate=2.0, read=ReadOptions(tokenizer=letters, think_time=3_000_000_000))
    assert notes == ["1 last messages without an answer left out"]
    first, second = load.requests
    assert (first.prompt_len, first.output_len, first.turn, first.parent) == (4, 3, 1, ())
    assert (second.prompt_len, second.output_len) == (4 + 3 + 2, 5)
    assert (second.turn, second.parent, second.think_time, second.session_id) == (2, ("0",), 3_000_000_000, "c")
    assert second.arrival_time == first.arrival_time == 0
    alone, _ = read_trace(place, rate=2.0, turns=1, read=TEXTS)
    assert [r.prompt_len for r in alone.requests] == [4]


def test_conversations_come_at_the_rate_and_as_lines_too(tmp_path: Path) -> None:
    talks = [said(("human", f"{i:04} hello"), ("gpt", "hi"), name=str(i)) for i in range(2000)]
    whole, _ = read_trace(put(tmp_path, "s.json", talks), rate=4.0, seed=1, read=TEXTS)
    lines, _ = read_trace(put(tmp_path, "s.jsonl", *talks), rate=4.0, seed=1, read=TEXTS)
    assert whole.requests == lines.requests
    assert whole.requests[-1].arrival_time / 1e9 == pytest.approx(500, rel=0.1)  # 4.5 standard errors
    assert read_trace(tmp_path / "s.json", rate=4.0, seed=2, read=TEXTS)[0] != whole
    few, _ = read_trace(tmp_path / "s.json", rate=4.0, seed=1, limit=3, read=TEXTS)
    assert [r.session_id for r in few.requests] == ["0", "1", "2"]


def test_neighbouring_messages_join_and_other_roles_belong_to_the_prompt(tmp_path: Path) -> None:
    talk = said(
        ("system", "S"), ("human", "a"), ("gpt", "x"), ("gpt", "y"), ("human", "b"), ("human", "c"), ("gpt", "z")
    )
    first, second = read_trace(put(tmp_path, "s.json", [talk]), rate=1.0, read=TEXTS)[0].requests
    assert (first.prompt_len, first.output_len) == (len("S\na"), len("x\ny"))
    assert second.prompt_len == first.prompt_len + first.output_len + len("b\nc")
    answer_first = said(("gpt", "w"), ("human", "a"), ("gpt", "x"))
    (only,) = read_trace(put(tmp_path, "s.json", [answer_first]), rate=1.0, read=TEXTS)[0].requests
    assert (only.prompt_len, only.output_len) == (len("w\na"), 1)


def test_conversations_that_begin_alike_share_blocks(tmp_path: Path) -> None:
    talks = [said(("human", "s" * 40 + tail), ("gpt", "x")) for tail in ("one", "two")]
    a, b = read_trace(put(tmp_path, "s.json", talks), rate=1.0, read=TEXTS)[0].requests
    assert a.hash_ids is not None
    assert b.hash_ids is not None
    assert a.hash_block == 16
    assert a.hash_ids[:2] == b.hash_ids[:2]
    assert a.hash_ids[2] != b.hash_ids[2]


def test_an_empty_answer_ends_the_session(tmp_path: Path) -> None:
    talk = said(("human", "a"), ("gpt", "x"), ("human", "b"), ("gpt", ""), ("human", "c"), ("gpt", "z"))
    place = put(tmp_path, "s.json", [talk])
    with pytest.raises(WorkloadError, match=r"s.json: conversation 1: 3 prompt and 0 output tokens"):
        read_trace(place, rate=1.0, read=TEXTS)
    load, notes = read_trace(place, rate=1.0, drop_invalid=True, read=TEXTS)
    assert len(load.requests) == 1
    assert notes == [
        "1 requests of zero tokens left out",
        "1 requests left out that followed one of zero tokens in its session",
    ]


@pytest.mark.parametrize(
    ("talks", "message"),
    [
        ([{"id": "x"}], "conversation 1: not an object with a list `conversations`"),
        ([said(("human", "a"), ("gpt", "b")), said(("alien", "a"))], "conversation 2: a message is from 'alien'"),
        ([{"conversations": [{"from": "human"}]}], "conversation 1: a message is not of the form"),
    ],
)
def test_conversations_that_are_wrong(tmp_path: Path, talks: list[dict], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        read_trace(put(tmp_path, "s.json", talks), rate=1.0, read=TEXTS)
    (tmp_path / "s.json").write_text('[{"id": 1,')
    with pytest.raises(WorkloadError, match=r"s.json: not JSON"):
        read_trace(tmp_path / "s.json", rate=1.0, read=TEXTS)


def test_vllm_custom(tmp_path: Path) -> None:
    place = put(tmp_path, "c.jsonl", {"prompt": "abc", "output_tokens": 7}, {"prompt": "abcdef", "output_tokens": 9})
    load, _ = read_trace(place, rate=1.0, read=TEXTS)
    assert [(r.prompt_len, r.output_len) for r in load.requests] == [(3, 7), (6, 9)]
    same, _ = read_trace(place, rate=1.0, read=ReadOptions(tokenizer=letters, output_len=5))
    assert [r.output_len for r in same.requests] == [5, 5]
    with pytest.raises(WorkloadError, match=r"c.jsonl:1: output_tokens is missing.*--output-len"):
        read_trace(put(tmp_path, "c.jsonl", {"prompt": "abc"}), rate=1.0, read=TEXTS)


def test_vllm_timed_trace_is_mooncake_in_another_unit(tmp_path: Path) -> None:
    place = put(
        tmp_path,
        "t.jsonl",
        {"timestamp": 12.5, "input_length": 42, "output_length": 8, "hash_ids": [981, 4412, 7]},
        {"timestamp": 14, "input_length": 16, "output_length": 8, "hash_ids": [981]},
    )
    with pytest.raises(WorkloadError, match=r"t.jsonl:1: hash_ids has 3 ids; .* in blocks of 512 tokens needs 1"):
        read_trace(place)
    load, _ = read_trace(place, read=ReadOptions(hash_block=16, timestamp_unit="s"))
    assert [(r.arrival_time, r.hash_block) for r in load.requests] == [(0, 16), (1_500_000_000, 16)]


def test_llmservingsim_agents_wait_for_their_tools(tmp_path: Path) -> None:
    place = put(
        tmp_path,
        "l.jsonl",
        {"input_toks": 128, "output_toks": 512, "arrival_time_ns": 70},
        {
            "session_id": "task-0",
            "arrival_time_ns": 50,
            "sub_requests": [
                {"input_toks": 1472, "output_toks": 133, "tool_duration_ns": 127_348_767},
                {"input_toks": 1582, "output_toks": 125, "tool_duration_ns": 0},
            ],
        },
    )
    call, again, alone = read_trace(place)[0].requests
    assert (call.arrival_time, alone.arrival_time) == (0, 20)
    assert (again.parent, again.think_time, again.turn) == ((call.request_id,), 127_348_767, 1)
    assert call.session_id == again.session_id == "task-0"


def test_llmservingsim_token_ids_say_what_is_repeated(tmp_path: Path) -> None:
    first, later = list(range(100, 120)), [*range(100, 120), 1, 2, 3, 4, 5, 6]
    calls = [
        {"input_toks": 20, "output_toks": 4, "input_tok_ids": first, "tool_duration_ns": 5},
        {"input_toks": 26, "output_toks": 2, "input_tok_ids": later, "tool_duration_ns": 0},
        {"input_toks": 18, "output_toks": 2, "input_tok_ids": first[:18]},
    ]
    place = put(tmp_path, "l.jsonl", {"session_id": "s", "arrival_time_ns": 0, "sub_requests": calls})
    a, b, c = read_trace(place)[0].requests
    assert (b.turn, b.hash_ids) == (2, None)
    assert c.turn == 1
    assert a.hash_ids is not None
    assert c.hash_ids is not None
    assert a.hash_ids[0] == c.hash_ids[0]
    assert a.hash_ids[1] != c.hash_ids[1]
    calls[2]["input_tok_ids"] = [1]
    put(tmp_path, "l.jsonl", {"session_id": "s", "arrival_time_ns": 0, "sub_requests": calls})
    with pytest.raises(WorkloadError, match=r"l.jsonl:1: sub_requests\[2\]: input_tok_ids has 1 ids, .* is 18"):
        read_trace(place)
    put(tmp_path, "l.jsonl", {"session_id": "s", "arrival_time_ns": 0, "sub_requests": []})
    with pytest.raises(WorkloadError, match="sub_requests is empty"):
        read_trace(place)


def sessions(folder: Path) -> Path:
    calls = [{"input_toks": 100 * (i + 1), "output_toks": 9, "tool_duration_ns": 4} for i in range(3)]
    return put(
        folder, "l.jsonl", *({"session_id": str(i), "arrival_time_ns": 10 * i, "sub_requests": calls} for i in range(4))
    )


def test_limit_takes_sessions_whole_and_speedup_leaves_think_times(tmp_path: Path) -> None:
    load, notes = read_trace(sessions(tmp_path), limit=4, speedup=0.5)
    assert [r.session_id for r in load.requests] == ["0"] * 3 + ["1"] * 3
    assert notes == ["6 requests instead of 4: the last session is whole"]
    assert load.requests[3].arrival_time == 20
    assert {r.think_time for r in load.requests if r.parent} == {4}
    assert len(read_trace(tmp_path / "l.jsonl", limit=3)[0].requests) == 3
    assert len(read_trace(tmp_path / "l.jsonl", turns=2)[0].requests) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.0}, "rate has no effect"),
        ({"seed": 1}, "seed has no effect"),
        ({"read": ReadOptions(tokenizer=letters)}, "tokenizer has no effect"),
        ({"read": ReadOptions(think_time=0)}, "think-time has no effect"),
        ({"read": ReadOptions(timestamp_unit="ms")}, "timestamp-unit has no effect"),
        ({"where": {"Model": "x"}}, "no such column; this format has none"),
        ({"turns": 0}, "turns is 0"),
    ],
)
def test_options_without_effect_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_trace(sessions(tmp_path), **options)


def test_a_trace_of_texts_needs_a_tokenizer_and_a_rate(tmp_path: Path) -> None:
    place = put(tmp_path, "s.json", [said(("human", "a"), ("gpt", "x"))])
    with pytest.raises(ConfigError, match=r"give --tokenizer tokenizer.json"):
        read_trace(place, rate=1.0)
    with pytest.raises(ConfigError, match="give --rate"):
        read_trace(place, read=TEXTS)
    with pytest.raises(ConfigError, match="speedup has no effect"):
        read_trace(place, rate=1.0, speedup=2.0, read=TEXTS)
    burst = put(tmp_path, "b.csv", BURST_1, "5,ChatGPT,472,18,490,API log\n")
    with pytest.raises(ConfigError, match="turns has no effect"):
        read_trace(burst, turns=1)

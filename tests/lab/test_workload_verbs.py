"""servetwin workload describe, fit, export, convert: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

from lab.cli import run
from workloads.jsonl import read_jsonl

MOONCAKE = [
    {"timestamp": 250 * i, "input_length": 700 + i, "output_length": 5 + i % 7, "hash_ids": [0, 100 + i // 2]}
    for i in range(80)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in MOONCAKE))
    return tmp_path


def test_describe_prints_a_table_and_draws(here: Path, capsys) -> None:
    assert run(["workload", "describe", "t.jsonl", "--figure", "f.png"]) == 0
    told = capsys.readouterr()
    assert "80 requests" in told.out
    assert "blocks of 512" in told.out
    assert told.err == "figure: f.png\n"
    assert Path("f.png").read_bytes()[:4] == b"\x89PNG"


def test_describe_of_anything_draws(here: Path) -> None:
    row = '{"request_id": "a", "arrival_time": 0, "prompt_len": 9, "output_len": 2, "session_id": "s"}\n'
    Path("one.jsonl").write_text(row)
    assert run(["workload", "describe", "one.jsonl", "--figure", "one.png"]) == 0
    Path("plain.jsonl").write_text((row + row.replace('"a"', '"b"')).replace(', "session_id": "s"', ""))
    assert run(["workload", "describe", "plain.jsonl", "--figure", "plain.png"]) == 0


def test_describe_as_json(here: Path, capsys) -> None:
    assert run(["workload", "describe", "t.jsonl", "--limit", "40", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == 40
    assert told["prefixes"]["requests_with_hit"] == 39 / 40
    assert told["arrivals"]["rate"] == pytest.approx(40 / 9.75)


def test_fit_writes_a_twin_and_says_how_close(here: Path, capsys) -> None:
    assert run(["workload", "fit", "t.jsonl", "--out", "twin.jsonl", "--requests", "50", "--seed", "3"]) == 0
    assert "a twin of t" in capsys.readouterr().out
    assert len(read_jsonl(Path("twin.jsonl")).requests) == 50
    assert run(["workload", "fit", "t.jsonl", "--out", "twin.jsonl", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"ks_prompt", "ks_output", "ks_gaps", "source", "twin", "choices", "notes", "sha256"} <= set(told)
    assert "workload" not in told


def test_export_comes_back(here: Path, capsys) -> None:
    assert run(["workload", "convert", "t.jsonl", "--out", "w.jsonl"]) == 0
    assert run(["workload", "export", "w.jsonl", "--out", "back.jsonl"]) == 0
    assert "80 requests as a Mooncake trace" in capsys.readouterr().out
    assert [json.loads(line)["timestamp"] for line in Path("back.jsonl").read_text().splitlines()] == [
        line["timestamp"] for line in MOONCAKE
    ]
    assert run(["workload", "convert", "back.jsonl", "--out", "again.jsonl"]) == 0
    assert read_jsonl(Path("again.jsonl")).requests[7].arrival_time == 1_750_000_000


def test_conversations_through_a_tokenizer(here: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra `real` is absent")
    from realexec.tokenizer import FOLDER

    talk = {
        "id": "c",
        "conversations": [
            {"from": "human", "value": "hello"},
            {"from": "gpt", "value": "hi"},
            {"from": "human", "value": "and?"},
            {"from": "gpt", "value": "so"},
        ],
    }
    Path("s.json").write_text(json.dumps([talk]))
    text = f"workload convert s.json --tokenizer {FOLDER / 'tokenizer.json'} --rate 1 --think-time 2.5 --out w.jsonl"
    assert run(text.split()) == 0
    first, second = read_jsonl(Path("w.jsonl")).requests
    assert (first.prompt_len, first.output_len) == (5, 2)  # a token a byte
    assert (second.prompt_len, second.think_time, second.turn) == (11, 2_500_000_000, 2)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("describe none.jsonl", "none.jsonl: no such file"),
        ("describe w.jsonl --limit 3", "--limit has no effect on w.jsonl"),
        ("describe t.jsonl --rate 3", "rate has no effect"),
        ("convert t.jsonl --where Model --out x", "--where 'Model' is not like"),
        ("convert t.jsonl --where a=1 --where a=2 --out x", "--where a is given twice"),
        ("convert t.jsonl --think-time -1 --out x", "--think-time is -1"),
        ("convert t.jsonl --tokenizer none.json --out x", "none.json: no such file"),
        ("convert t.jsonl --tokenizer t.jsonl --out x", "t.jsonl: no tokenizer"),
        ("fit t.jsonl --requests 0 --out x", "requests is 0"),
        ("fit w.jsonl --out x", "too few to fit"),
        ("export t.jsonl --out x", "t.jsonl:1"),
    ],
)
def test_wrong_use_is_one_line(here: Path, capsys, command: str, words: str) -> None:
    if "tokenizer t.jsonl" in command:
        pytest.importorskip("tokenizers", reason="the extra `real` is absent")
    Path("w.jsonl").write_text('{"request_id": "a", "arrival_time": 0, "prompt_len": 3, "output_len": 2}\n')
    assert run(["workload", *command.split()]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not Path("x").exists()


def test_without_tokenizers_texts_are_blocked(here: Path, capsys, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert run(["workload", "convert", "t.jsonl", "--tokenizer", "x.json", "--out", "w.jsonl"]) == 3
    assert "pip install 'servetwin[real]'" in capsys.readouterr().err

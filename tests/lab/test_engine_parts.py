"""Engines made of chosen parts, from the command line: they run, say what they are made of, and replay."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lab.cli import run
from records.profile import write_profile
from records.run import read_run
from tests.records.test_profile import PROFILE

MINE = """
from dataclasses import dataclass
from serving.schedule.policies.base import Policy

@dataclass
class ShortestPrompt(Policy):
    reverse: bool = False

    def key(self, request):
        length = -request.prompt_len if self.reverse else request.prompt_len
        return (length, request.arrival_time, request.request_id)
"""
TIGHT = ("--num-blocks", "160", "--max-num-seqs", "24")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a burst of requests, a profile, and a policy of one's own."""
    monkeypatch.chdir(tmp_path)
    write_profile(Path("p.json"), PROFILE.model_copy(update={"kv": PROFILE.kv.model_copy(update={"num_blocks": 4096})}))
    assert run(["workload", "make", "--rate", "400", "--requests", "60", "--seed", "1", "--out", "w.jsonl"]) == 0
    Path("mine.py").write_text(MINE)
    return tmp_path


def simulate(out: str, *more: str) -> int:
    return run(["simulate", "--workload", "w.jsonl", "--profile", "p.json", "--out", out, *TIGHT, *more])


def order(folder: str) -> list[str]:
    """Requests in the order in which they were first admitted."""
    record = read_run(Path(folder))
    seen: dict[int, None] = {}
    for row in record.step_rows(["admitted"]):
        seen.update(dict.fromkeys(row["admitted"]))
    return [record.requests["request_id"][i] for i in seen]


def test_a_policy_from_a_file_decides_and_replays_and_its_options_count(here, capsys) -> None:
    assert simulate("fcfs") == 0
    assert simulate("short", "--policy", "mine.py:ShortestPrompt") == 0
    assert simulate("long", "--policy", "mine.py:ShortestPrompt(reverse=True)") == 0
    assert order("fcfs") != order("short") != order("long") != order("fcfs")
    assert json.loads(Path("long/manifest.json").read_text())["engine"]["policy"].endswith("(reverse=True)")
    assert run(["replay", "long"]) == 0
    Path("mine.py").write_text(MINE.replace("reverse: bool = False", "reverse: bool = True"))
    capsys.readouterr()
    assert run(["replay", "long"]) == 2
    assert "mine.py is not what it was when the run was made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "none.py:A"), "none.py: cannot be read"),
        (("--policy", "mine.py:Shortest"), "mine.py has no class Shortest; it has: ShortestPrompt"),
        (("--policy", "mine.py:ShortestPrompt(reversed=1)"), "has no option 'reversed'; it has: reverse"),
        (("--policy", "broken.py:A"), "broken.py: raised ZeroDivisionError when it was loaded"),
        (("--policy", "fcfs(3"), "cannot be read"),
        (("--predictor", "oracl"), "did you mean oracle"),
        (("--predictor", "noisy(error=-1)"), "noisy: error is -1"),
        (("--eviction", "lur"), "did you mean lru"),
        (("--preemption", "swap"), "give num_host_blocks"),
        (("--host-link", "10"), "--host-link has no effect without host memory"),
        (("--num-host-blocks", "40", "--host-link", "-1"), "--host-link is -1 GB/s; it must be above 0"),
        (("--num-host-blocks", "400", "--preemption", "swap"), "how fast KV moves to host memory: give --host-link"),
    ],
)
def test_parts_that_cannot_be_are_told_and_nothing_is_left(here, capsys, arguments, words) -> None:
    Path("broken.py").write_text("1 / 0")
    assert simulate("out", *arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not Path("out").exists()


def test_swapped_kv_takes_its_time_on_the_link(here) -> None:
    swap = ("--num-host-blocks", "400", "--preemption", "swap", "--no-enable-prefix-caching")
    assert simulate("fast", *swap, "--host-link", "1000") == 0
    assert simulate("slow", *swap, "--host-link", "0.001") == 0
    steps = pq.read_table("slow/steps.parquet").to_pylist()
    moved = sum(len(step["copy_block"]) for step in steps)
    assert moved > 0
    assert {to_host for step in steps for to_host in step["copy_to_host"]} == {True, False}
    took = {name: pq.read_table(f"{name}/steps.parquet")["host_s"][-1].as_py() for name in ("fast", "slow")}
    assert took["slow"] > took["fast"]
    assert run(["replay", "slow"]) == 0


def test_predictions_are_inputs_and_the_oracle_stays_off_hardware(here, capsys) -> None:
    assert simulate("told", "--predictor", "noisy(error=0.5)") == 0
    told = [json.loads(line) for line in Path("told/inputs.jsonl").read_text().splitlines()]
    assert all(line["request"]["predicted_output_len"] >= 1 for line in told if line["type"] == "add")
    assert json.loads(Path("told/manifest.json").read_text())["engine"]["predictor"] == "noisy(error=0.5)"
    assert run(["replay", "told"]) == 0
    assert run(["execute", "--workload", "w.jsonl", "--out", "real", "--predictor=oracle"]) == 2
    assert "knows the truth" in capsys.readouterr().err


def test_parts_are_listed_with_their_options(capsys) -> None:
    assert run(["parts"]) == 0
    told = capsys.readouterr().out
    for words in (
        "nano-vllm",
        "fcfs",
        "on-demand(watermark=0.0",
        "session-ttl(ttl_s=300.0)",
        "noisy(error=0.3, seed=0)",
    ):
        assert words in told


DECIDE = {
    "config": {
        "max_num_seqs": 4,
        "max_num_batched_tokens": 64,
        "block_size": 16,
        "num_blocks": 4,
        "max_model_len": 64,
    },
    "requests": [
        {"id": "big", "arrival_step": 0, "prompt": [[1, 0, 40]], "output_stream": 2, "output_len": 40},
        {"id": "small", "arrival_step": 30, "prompt": [[3, 0, 5]], "output_stream": 4, "output_len": 2},
    ],
}


def test_decisions_are_printed_a_line_a_step_and_survive_what_kills_the_engine(here, capsys) -> None:
    Path("t.json").write_text(json.dumps(DECIDE))
    assert run(["decisions", "--engine", "nano-vllm", "t.json"]) == 0
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    [dead] = [line for line in lines if "error" in line]
    assert dead["request"] == "big"
    assert "request big: its 65 tokens need 5 KV blocks of 16, the pool has 4" in dead["error"]
    assert dead["error"] in told.err
    assert lines[-1]["finished"] == ["small"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": {}}, "config.max_num_seqs: missing"),
        ({"requests": [{**DECIDE["requests"][0], "arrival_step": -1}]}, "requests[0].arrival_step"),
        ({"requests": [DECIDE["requests"][0]] * 2}, "request id 'big' comes twice"),
        ({"config": {**DECIDE["config"], "num_block": 3}}, "did you mean num_blocks"),
    ],
)
def test_a_trace_that_cannot_be_read_is_told(here, capsys, change, words) -> None:
    Path("t.json").write_text(json.dumps({**DECIDE, **change}))
    assert run(["decisions", "--engine", "vllm", "t.json"]) == 2
    assert words in capsys.readouterr().err

"""servetwin simulate with a fleet, as a person uses it: what is written, what it says, and how it refuses."""

import json
import random
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lab.cli import run
from lab.fleet_runs import simulate_fleet
from lab.fleet_spec import FleetSpec
from records.cost_terms import CostTerms, Term
from records.laws import check_laws
from records.profile import Profile, write_profile
from records.run import read_run
from tests.lab.test_same_fleet_record import fleet
from tests.lab.test_same_record import NOISE, conversations, profile, workload
from tests.records.test_profile import PROFILE
from workloads.jsonl import write_jsonl
from workloads.workload import Workload, WorkloadRequest

SECOND = 10**9
EXAMPLES = ("mixed", "prefill-decode", "failures", "autoscale")


def constant(milliseconds: float) -> CostTerms:
    return CostTerms(terms=(Term(name="c", feature="one", coefficient_ms=milliseconds, meaning="a test"),))


def costing(step_ms: float) -> Profile:
    """Each step takes so long, and nothing else any time."""
    nothing = CostTerms(terms=())
    kv = PROFILE.kv.model_copy(update={"num_blocks": 4096, "bytes_per_token": 1000})
    durations = {"execute": constant(step_ms), "schedule": nothing, "complete": nothing, "return_": nothing}
    return PROFILE.model_copy(update={**durations, "kv": kv, "residual": {"mixed": NOISE}})


def write_workload(*told: tuple[float, int, int], **more: Any) -> None:
    """(arrival in seconds, prompt tokens, output tokens) each; ids r0, r1, ..."""
    requests = (
        WorkloadRequest(f"r{i}", round(at * SECOND), prompt, output, output, **more)
        for i, (at, prompt, output) in enumerate(told)
    )
    write_jsonl(Path("w.jsonl"), Workload("w", tuple(requests)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    """A folder with the examples, profiles for them, and a workload of 60 requests in 1.5 s."""
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES:
        name = f"fleet-{example}.toml"
        Path(name).write_bytes((repo / "docs" / "examples" / name).read_bytes())
    write_profile(Path("p.json"), costing(10))
    write_profile(Path("big.json"), costing(5))
    write_profile(Path("small.json"), costing(20))
    assert run(["workload", "make", "--rate", "40", "--requests", "60", "--seed", "1", "--out", "w.jsonl"]) == 0
    return tmp_path


def simulate(*more: str, out: str = "sim") -> int:
    return run(["simulate", "--workload", "w.jsonl", "--profile", "p.json", "--out", out, "--force", *more])


def simulate_toml(text: str) -> int:
    Path("f.toml").write_text(text)
    return simulate("--fleet", "f.toml")


def rows() -> list[dict[str, Any]]:
    return read_run(Path("sim")).requests.to_dict("records")


def summary() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path("sim/summary.json").read_text())
    return told


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_runs_replays_and_obeys_every_law(here: Path, capsys: Any, example: str) -> None:
    assert simulate("--fleet", f"fleet-{example}.toml") == 0
    assert "60 finished" in capsys.readouterr().out
    assert run(["replay", "sim"]) == 0
    assert "every plan equal" in capsys.readouterr().out
    assert run(["laws", "sim"]) == 0
    assert "every law holds" in capsys.readouterr().out
    assert len({row["replica"] for row in rows()}) > 1
    assert any(row["num_moves"] for row in rows()) == (example in ("prefill-decode", "failures"))
    assert (example in ("mixed", "autoscale")) == ("cost" in summary())
    record = read_run(Path("sim"))
    assert record.manifest.fleet is not None
    assert "no fleet was measured" in record.manifest.unvalidated[0]


def test_same_fleet_and_seed_same_bytes(here: Path) -> None:
    seen = set()
    for seed in ("1", "1", "2"):
        assert simulate("--fleet", "fleet-mixed.toml", "--noise-seed", seed) == 0
        seen.add(Path("sim/steps.parquet").read_bytes())
    assert len(seen) == 2


def test_routers_meet_the_same_noise_at_the_same_step_of_a_replica(here: Path) -> None:
    taken: dict[str, dict[tuple[int, int], int]] = {}
    for router in ("round-robin", "join-shortest-queue"):
        assert simulate("--replicas", "2", "--router", router, "--noise-seed", "3") == 0
        steps = read_run(Path("sim")).steps
        spent = ((steps["host_s"] - steps["launch_s"]) * 1e9).round().astype(int)
        taken[router] = dict(zip(zip(steps["replica"], steps["step_id"], strict=True), spent, strict=True))
    first, second = taken.values()
    both = first.keys() & second.keys()
    assert len(both) > 100
    assert len(set(first.values())) > 100
    assert all(first[step] == second[step] for step in both)


def test_hand_over_in_the_record(here: Path) -> None:
    """Steps take 10 ms, the KV of 50 prompt tokens 50 kB / 0.1 GB/s + 0.5 ms = 1 ms. r1 has one token and stays."""
    write_workload((0, 50, 3), (0, 7, 1))
    text = '[link]\ngb_per_s = 0.1\nlatency_s = 0.0005\n[[replicas]]\nrole = "prefill"\n[[replicas]]\nrole = "decode"\n'
    assert simulate_toml(text) == 0
    moved, stayed = rows()
    assert [moved[key] for key in ("replica", "num_moves", "output_len")] == [1, 1, 3]
    assert [moved[key] for key in ("ttft_s", "prefill_s", "queue_s", "e2e_s", "decode_s")] == [
        0.01,
        0.01,
        0.0,
        0.031,
        0.021,
    ]
    assert [stayed[key] for key in ("replica", "num_moves", "output_len", "e2e_s")] == [0, 0, 1, 0.01]
    assert summary()["fleet"] == {"num_replicas": 2, "replica_s": [0.031, 0.031], "kv_tokens_moved": 50}


def test_a_failure_in_the_record(here: Path) -> None:
    """Steps take 10 ms. Lost at 25 ms with two tokens, r0 goes on on replica 2 at once, and r1 at 80 ms with eight."""
    write_workload((0, 4, 4), (0, 4, 9))
    failures = "[[failures]]\nreplica = 0\nat_s = 0.025\n[[failures]]\nreplica = 1\nat_s = 0.08\n"
    assert simulate_toml(f'router = "round-robin"\nretries = 1\n[[replicas]]\ncount = 3\n{failures}') == 0
    first, second = rows()
    assert [first[key] for key in ("status", "replica", "num_moves", "output_len", "e2e_s")] == [
        "finished",
        2,
        1,
        4,
        0.045,
    ]
    assert [second[key] for key in ("status", "replica", "num_moves", "output_len", "e2e_s")] == [
        "finished",
        2,
        1,
        9,
        0.09,
    ]


def test_what_is_paid(here: Path) -> None:
    """A second costs 0.001. Steps take 100 ms; r0 runs from 0 to 4 s, beside it r1 from 0.9 to 2.1 s. So at 1 s another
    replica is wanted, which serves r2 from 1.6 to 2.6 s and is one too many at 3 s.
    """
    write_profile(Path("p.json"), costing(100))
    write_workload((0, 10, 40), (0.85, 10, 12), (1.6, 10, 10), ttft_slo=SECOND // 5)
    text = (
        'router = "join-shortest-queue"\n[[replicas]]\ncount = 2\nprice_per_hour = 3.6\n'
        '[autoscale]\nscaler = "queue-depth(target=1, hold_s=0)"\nevery_s = 0.5\nstart_up_s = 0.5\n'
    )
    assert simulate_toml(text) == 0
    told = summary()
    assert told["fleet"] == {"num_replicas": 2, "replica_s": [4.0, 2.0], "kv_tokens_moved": 0}
    cost = told["cost"]
    assert cost["replica_s"] == 6.0
    assert cost["total"] == pytest.approx(0.006, rel=1e-12)
    assert cost["per_million_output_tokens"] == pytest.approx(0.006 / 62 * 1e6, rel=1e-12)
    assert cost["per_million_tokens"] == pytest.approx(0.006 / 92 * 1e6, rel=1e-12)
    assert cost["per_request"] == pytest.approx(0.002, rel=1e-12)
    assert cost["per_good_request"] == pytest.approx(0.002, rel=1e-12)


def test_who_has_no_price_makes_the_fleet_one_without_a_cost(here: Path) -> None:
    assert simulate_toml("[[replicas]]\nprice_per_hour = 1\n[[replicas]]\n") == 0
    assert "cost" not in summary()


def test_steps_outside_the_hull_are_counted_over_all_replicas(here: Path, capsys: Any) -> None:
    """The profile was measured on 1 to 64 tokens: each replica has a prompt of 65, computed in one step."""
    write_workload((0, 65, 3), (0, 65, 2), (0.5, 64, 1))
    assert simulate("--replicas", "2", "--router", "round-robin") == 0
    outside = read_run(Path("sim")).manifest.conditions["outside_hull"]
    assert outside == {"steps": 2, "time_share": pytest.approx(2 / 6)}
    assert "2 of them (33.3% of step time) outside the batches" in capsys.readouterr().out


def test_one_replica_is_the_single_engine(here: Path) -> None:
    """The same requests at the same times, wherever the two can be compared."""
    assert simulate("--replicas", "1") == 0
    one = read_run(Path("sim")).requests
    assert simulate(out="single") == 0
    single = read_run(Path("single")).requests
    assert one.equals(single)


ROLES = '[[replicas]]\nrole = "prefill"\n[[replicas]]\nrole = "decode"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[replicas]]\ncuont = 2\n", "f.toml: replicas[0].cuont: unknown key; did you mean count"),
        ("retry = 2\n[[replicas]]\n", "f.toml: retry: unknown key; did you mean retries"),
        ("[[replicas]]\n[link]\ngb_per_s = 1\nlatency = 1\n", "f.toml: link.latency: unknown key"),
        ("[[replicas]]\n[[failures]]\nreplica = 0\n", "f.toml: failures[0].at_s: missing"),
        ("[[replicas]]\n[[slowdowns]]\nreplica = 0\nat_s = 0\nfactor = 0\n", "f.toml: slowdowns[0].factor"),
        ("[[replicas]]\n[autoscale]\nscaler = 'rate'\nevery_s = 0\n", "f.toml: autoscale.every_s"),
        ("", "f.toml: replicas: missing"),
        ("replicas = []\n", "f.toml: replicas: "),
        ("[[replicas]]\ncount = 0\n", "f.toml: replicas[0].count"),
        ("[[replicas]\n", "f.toml: not TOML"),
        ("[[replicas]]\nprofile = 'gone.json'\n", "gone.json"),
        ("[[replicas]]\nrole = 'prefil'\n", "f.toml: replicas[0].role"),
        ("[[replicas]]\nrole = 'prefill'\n", "roles of this fleet: prefill; prefill and decode need each other"),
        ("[[replicas]]\n[[replicas]]\nrole = 'decode'\n", "roles of this fleet: both, decode"),
        (ROLES, "prefill and decode replicas need a link between them"),
        ("[[replicas]]\n[link]\ngb_per_s = 1\n", "need a link between them, and nobody else does"),
        (f"{ROLES}[link]\ngb_per_s = 0\n", "a link of 0 bytes a second moves nothing"),
        (f"{ROLES}[link]\ngb_per_s = -2\n", "a link of -2e+09 bytes a second moves nothing"),
        ("decode_router = 'random'\n[[replicas]]\n", "decode_router has no effect"),
        ("metrics_delay_s = 1\n[[replicas]]\n", "metrics_delay has no effect without metrics_every"),
        ("router = 'round-robbin'\n[[replicas]]\n", "did you mean round-robin"),
        ("router = 'my.py:Mine'\n[[replicas]]\n", "my.py: cannot be read"),
        ("[[replicas]]\n[autoscale]\nscaler = 'rate'\n", "rate"),
        ("[[replicas]]\n[autoscale]\nscaler = 'queue-depht'\n", "did you mean queue-depth"),
        ("[[replicas]]\n[autoscale]\nscaler = 'queue-depth'\nmost = 2\n", "up to 2 replicas are wanted of 1"),
        ("[[replicas]]\n[[failures]]\nreplica = 1\nat_s = 0\n", "replica 1 is to fail or slow down, but there is none"),
        ("[[replicas]]\n[[failures]]\nreplica = 0\nat_s = 2\nback_at_s = 1\n", "ends before it begins"),
        ("[[replicas]]\n[[failures]]\nreplica = 0\nat_s = 0.1\n", "none of 0 is up or comes back; let one of them"),
        ("[[replicas]]\npolicy = 'fcfss'\n", "did you mean fcfs"),
        ("[[replicas]]\nsettings = { max_seqs = 3 }\n", "max_seqs"),
        ("[[replicas]]\nsettings = { num_blocks = 2 }\n", "KV blocks"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_in_one_line(here: Path, capsys: Any, text: str, words: str) -> None:
    capsys.readouterr()
    assert simulate_toml(text) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert words in told.err
    assert not Path("sim").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--replicas", "0"), "--replicas is 0; give from 1 to 10000"),
        (("--replicas", "-1"), "--replicas is -1"),
        (("--router", "random"), "--router has no effect with one replica"),
        (("--fleet", "fleet-failures.toml", "--replicas", "2"), "no effect beside --fleet"),
        (("--fleet", "fleet-failures.toml", "--router", "random"), "no effect beside --fleet"),
        (("--fleet", "gone.toml"), "gone.toml: cannot be read"),
        (("--replicas", "2", "--router", "rendom"), "did you mean random"),
    ],
)
def test_options_that_do_not_go_together_are_refused(here: Path, capsys: Any, options: Any, words: str) -> None:
    capsys.readouterr()
    assert simulate(*options) == 2
    assert words in capsys.readouterr().err
    assert not Path("sim").exists()


def test_a_request_that_no_replica_can_serve_is_named_before_anything_runs(here: Path, capsys: Any) -> None:
    write_workload((0, 10, 1), (0, 70, 1))
    text = "[[replicas]]\nsettings = { max_model_len = 50 }\n[[replicas]]\nsettings = { max_model_len = 60 }\n"
    assert simulate_toml(text) == 2
    assert "request r1" in capsys.readouterr().err


def test_a_request_that_one_replica_cannot_serve_is_rejected_there_and_nothing_else(here: Path, capsys: Any) -> None:
    write_workload((0, 70, 1), (0, 70, 1))
    text = 'router = "round-robin"\n[[replicas]]\nsettings = { max_model_len = 50 }\n[[replicas]]\n'
    assert simulate_toml(text) == 0
    first, second = rows()
    assert (first["status"], second["status"]) == ("rejected", "finished")
    assert "r0" in first["reason"]
    assert run(["laws", "sim"]) == 0


def test_models_of_prefill_and_decode_must_be_one(here: Path, capsys: Any) -> None:
    write_profile(Path("other.json"), costing(1).model_copy(update={"model": {"name": "110m"}}))
    text = f"[link]\ngb_per_s = 1\n{ROLES}profile = 'other.json'\n"
    assert simulate_toml(text) == 2
    assert "their profiles must be of one model" in capsys.readouterr().err


def test_without_a_profile_the_replica_is_named(here: Path, capsys: Any) -> None:
    Path("f.toml").write_text("[[replicas]]\nprofile = 'big.json'\n[[replicas]]\n")
    assert run(["simulate", "--workload", "w.jsonl", "--fleet", "f.toml", "--out", "sim"]) == 2
    assert "replica 1 has no profile" in capsys.readouterr().err
    Path("f.toml").write_text("[[replicas]]\nprofile = 'big.json'\n")
    assert run(["simulate", "--workload", "w.jsonl", "--fleet", "f.toml", "--out", "sim"]) == 0


def test_profiles_are_found_from_the_folder_of_the_file_on(here: Path) -> None:
    Path("sub").mkdir()
    Path("sub/f.toml").write_text("[[replicas]]\nprofile = '../small.json'\nprice_per_hour = 0\n")
    write_workload((0, 5, 3))
    assert simulate("--fleet", "sub/f.toml") == 0
    assert rows()[0]["e2e_s"] == 0.06
    assert summary()["cost"]["total"] == 0


def test_settings_of_a_replica_are_those_of_the_command_line_but_for_its_own(here: Path) -> None:
    Path("f.toml").write_text("[[replicas]]\npolicy = 'sjf'\nsettings = { max_num_seqs = 3 }\n[[replicas]]\n")
    assert simulate("--fleet", "f.toml", "--max-num-seqs", "5", "--block-size", "8", "--predictor", "oracle") == 0
    fleet = read_run(Path("sim")).manifest.fleet
    assert fleet is not None
    told = [
        (r.engine.policy, r.engine.settings["max_num_seqs"], r.engine.settings["block_size"]) for r in fleet.replicas
    ]
    assert told == [("sjf", 3, 8), ("fcfs", 5, 8)]


def test_noise_needs_quantiles(here: Path, capsys: Any) -> None:
    write_profile(Path("p.json"), costing(1).model_copy(update={"residual": {}}))
    assert simulate("--replicas", "2", "--noise-seed", "1") == 2
    assert "no quantiles of its residuals (prefill steps): calibrate again" in capsys.readouterr().err


@given(seed=st.integers(0, 10**9))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_fleets_serve_each_request_once_and_obey_every_law(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if seed % 2:
        load = conversations(rng, load)
    spec, replicas = fleet(rng, costs, load)
    record = simulate_fleet(
        tmp_path / "run",
        load,
        spec,
        replicas,
        "oracle",
        force=True,
        max_in_flight=rng.choice([None, None, 3]),
        noise_seed=rng.choice([None, seed]),
    )
    assert [law for law in check_laws(record) if not law.holds] == []
    requests = record.requests
    assert len(requests) == len(load.requests)
    assert set(requests["status"]) <= {"finished", "rejected", "unsent"}
    wanted = requests["request_id"].map({r.request_id: r.output_len for r in load.requests})
    finished = requests["status"] == "finished"
    assert (requests["output_len"] == wanted)[finished].all()
    assert (requests["output_len"] < wanted)[~finished].all()


def models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """By the name under which FleetSpec has it."""
    found: dict[str, type[BaseModel]] = {}
    for name, entry in model.model_fields.items():
        for inner in (entry.annotation, *get_args(entry.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found[name] = inner
    return found


def test_every_key_is_documented_with_its_default(repo: Path) -> None:
    text = (repo / "docs" / "fleets.md").read_text()
    top, *sections = re.split(r"^### `\[+(\w+)\]+`$", text, flags=re.MULTILINE)
    tables = {"": top, **dict(zip(sections[::2], sections[1::2], strict=True))}
    inner = models(FleetSpec)
    assert set(tables) == {"", *inner}
    for name, model in {"": FleetSpec, **inner}.items():
        table = tables[name].partition("\n## ")[0] if name else tables[name]
        told = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE))
        keys = {key: field for key, field in model.model_fields.items() if name or key not in inner}
        assert set(told) == set(keys), name
        for key, field in keys.items():
            told_default = told[key].strip().strip("`")
            if field.is_required():
                assert told_default == "required", (name, key)
            elif isinstance(field.default, str):
                assert told_default == f'"{field.default}"', (name, key)
            elif isinstance(field.default, int | float):
                assert told_default == f"{field.default:g}", (name, key)
            else:
                assert told_default not in ("required", ""), (name, key)

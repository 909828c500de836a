"""What a run's command prints: service levels, tenants, replicas, money and refusals, on one screen of 80 columns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fleet_runs import simulate_fleet
from lab.fleet_spec import FleetSpec, members
from lab.numbers import plus_minus, significant
from lab.reasons import most_frequent
from lab.runs import simulate_run
from lab.summary import per_replica, print_summary, read_summary, system_of
from records.run import RunRecord
from serving.schedule.engine import EngineSpec
from tests.lab.test_replications import NOISY, requests
from workloads.workload import Workload

SPEC = EngineSpec(
    "vllm",
    admission="queue-cap(max_waiting=2)",
    settings={"max_num_seqs": 8, "num_blocks": 60, "max_model_len": 900},
)


def busy(num_tenants: int = 9) -> Workload:
    """Tenants with service levels; five times as many requests a second; each seventh waits for another's answer."""
    load = requests(1)
    found = []
    for i, request in enumerate(load.requests):
        parent = (load.requests[i - 1].request_id,) if i % 7 == 6 else ()
        found.append(
            replace(
                request,
                arrival_time=0 if parent else request.arrival_time // 5,
                parent=parent,
                tenant=f"tenant-{i % num_tenants}",
                ttft_slo=10**8,
            )
        )
    return Workload("busy", tuple(found))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    spec = FleetSpec.model_validate({"router": "round-robin", "replicas": [{"count": 3, "price_per_hour": 2.5}]})
    folder = tmp_path_factory.mktemp("runs") / "fleet"
    return simulate_fleet(folder, busy(), spec, members(spec, Path(), NOISY, SPEC))


def printed(
    record: RunRecord, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int = 80
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    capsys.readouterr()
    print_summary(record, as_json=False)
    return capsys.readouterr().out


def test_a_fleet_with_tenants_fits_on_a_screen(
    fleet: RunRecord, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = printed(fleet, capsys, monkeypatch)
    summary = read_summary(fleet)
    slo, counts = summary["slo"], summary["num_requests"]
    assert "…" not in told
    assert len(told.splitlines()) < 45
    assert "3 x vllm/fcfs/queue-cap(max_waiting=2) behind round-robin" in told
    assert f"{counts['rejected']} rejected" in told
    assert f"SLO: met by {slo['met']} of 200 requests" in told
    assert "goodput" in told
    assert f"rejected: {counts['rejected']}, all like this: request " in told
    assert f"unsent: {counts['unsent']}, all like this: its parent " in told
    assert "fleet: 3 replicas" in told
    assert "per request that met its SLO" in told
    assert "and 3 tenants with fewer requests" in told
    for replica in per_replica(fleet, summary["fleet"]):
        assert [str(replica["replica"]), str(replica["finished"]), str(replica["requests"])] in [
            line.split()[:3] for line in told.splitlines()
        ]


def test_replicas_share_what_the_run_did(fleet: RunRecord) -> None:
    summary = read_summary(fleet)
    shares = per_replica(fleet, summary["fleet"])
    counts = summary["num_requests"]
    assert [share["replica"] for share in shares] == [0, 1, 2]
    assert sum(share["requests"] for share in shares) == counts["total"] - counts["unsent"]
    assert sum(share["finished"] for share in shares) == counts["finished"]
    assert sum(share["output_tokens"] for share in shares) == summary["num_output_tokens"]
    assert sum(share["preemptions"] for share in shares) == fleet.requests["num_preemptions"].sum() > 0


def test_json_has_what_is_printed(fleet: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(fleet, as_json=True)
    told = json.loads(capsys.readouterr().out)
    summary = read_summary(fleet)
    assert {name: told[name] for name in summary} == summary
    assert told["replicas"] == per_replica(fleet, summary["fleet"])
    assert told["reasons"]["rejected"]["count"] == summary["num_requests"]["rejected"]


def test_of_a_large_fleet_the_busiest_and_the_idlest_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FleetSpec.model_validate({"router": "join-shortest-queue", "replicas": [{"count": 20}]})
    record = simulate_fleet(tmp_path / "run", requests(1, 60), spec, members(spec, Path(), NOISY, SPEC))
    told = printed(record, capsys, monkeypatch)
    rows = [line.split()[0] for line in told.splitlines() if line[:1].isdigit() and len(line.split()) == 6]
    assert rows == ["0", "1", "2", "17", "18", "19"]
    assert "14 that served neither the most nor the fewest" in told
    assert "cost:" not in told


def test_a_plain_run_says_no_more_than_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = simulate_run(tmp_path / "run", requests(1, 20), NOISY, EngineSpec("vllm"))
    told = printed(record, capsys, monkeypatch)
    assert told.startswith("simulated: w-1 under vllm/fcfs\n")
    assert "20 finished; " in told
    for word in ("SLO", "tenant", "replica", "fleet", "cost", "rejected", "unsent"):
        assert word not in told


def test_a_fleet_is_named_by_its_kinds_and_routers(tmp_path: Path) -> None:
    spec = FleetSpec.model_validate(
        {
            "router": "round-robin",
            "decode_router": "least-kv",
            "replicas": [{"count": 2, "role": "prefill"}, {"role": "decode", "policy": "sjf"}],
            "link": {"gb_per_s": 1.0},
        }
    )
    plain = replace(SPEC, admission="")
    record = simulate_fleet(tmp_path / "run", requests(1, 10), spec, members(spec, Path(), NOISY, plain), "oracle")
    assert system_of(record.manifest) == "3 x vllm/fcfs and 1 more behind round-robin, then least-kv"


def test_reasons_that_differ_in_numbers_are_of_one_kind() -> None:
    told = ["its parent a-1 was turned away", "request a-2: 7 wait", "request a-33: 12 wait", "no room"]
    assert most_frequent(told) == (2, "request a-2: 7 wait")
    assert most_frequent(reversed(told)) == (2, "request a-33: 12 wait")
    assert most_frequent(["no room", "too late"]) == (1, "no room")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (200.0, "200"), (12345.6, "12,346"), (12.3456, "12.35"), (0.00012345, "0.0001234"), (-2.5, "-2.500")],
)
def test_numbers_have_four_digits_that_matter(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (2804.99, 1632.0, "+2,805 ± 1,632"),
        (-113.06, 80.56, "-113 ± 81"),
        (0.0051, 0.0189, "+0.005 ± 0.019"),
        (3.0, 0.0, "+3 ± 0"),
        (1.5, 2.0, "+1.5 ± 2.0"),
    ],
)
def test_a_margin_decides_how_many_digits_there_are(mean: float, half_width: float, text: str) -> None:
    assert plus_minus(mean, half_width, "+") == text


@given(st.floats(1e-6, 1e9))
def test_no_number_is_off_by_more_than_its_last_digit(value: float) -> None:
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=6e-4)

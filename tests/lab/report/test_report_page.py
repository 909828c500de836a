"""The page that servetwin report writes: what it says is what the records say, and nothing in it can do harm."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.cli import run
from lab.fleet_runs import simulate_fleet
from lab.fleet_spec import equal_replicas, members
from lab.numbers import significant
from lab.report.timeline import KV, LINES, MOST_STEPS, timelines
from lab.report.view import BANDS, MOST_REQUESTS, PARTS, view
from lab.runs import simulate_run
from lab.summary import read_summary
from records.run import RunRecord
from serving.schedule.engine import EngineSpec
from tests.lab.report.browser import needs_chromium, shown
from tests.lab.test_summary import NOISY
from workloads.synthesize import synthesize
from workloads.workload import Workload

pytest.importorskip("bokeh", reason="the extra report is not installed")

EVIL = "</script><img src=x onerror=alert(1)>"


def load(requests: int = 60, tenant: str = "") -> Workload:
    drawn = synthesize(name="drawn", rate=30.0, num_requests=requests, seed=1, scale=0.1)
    return Workload("drawn", tuple(replace(r, tenant=tenant) for r in drawn.requests))


def record(folder: Path, workload: Workload | None = None, spec: EngineSpec | None = None) -> RunRecord:
    return simulate_run(folder, workload or load(), NOISY, spec or EngineSpec("vllm"), noise_seed=1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(*words: str) -> str:
    assert run(["report", *words, "--out", "page.html", "--force"]) == 0
    return Path("page.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found.group(1))


def test_numbers_on_the_page_are_those_of_the_record(here: Path) -> None:
    made = record(here / "run")
    text, summary = page("run"), read_summary(made)
    cells = dict(re.findall(r'<tr data-name="([^"]+)">.*?</th><td>[^<]*</td>\s*<td>([^<]*)</td>', text, re.S))
    for time in ("ttft", "queue", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p90", "p99"):
            assert cells[f"{time}.{statistic}"] == significant(summary[time][statistic] * 1e3)
    assert cells["num_steps"] == f"{summary['num_steps']:,}"
    requests = data_of(text)["runs"][0]["requests"]
    assert requests["request_id"] == made.requests["request_id"].tolist()
    assert requests["ttft_s"] == made.requests["ttft_s"].tolist()


def test_the_same_records_give_the_same_bytes_and_nothing_is_fetched(here: Path) -> None:
    record(here / "run")
    text = page("run")
    assert page("run") == text
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=", text)
    assert len(text) < 2_500_000


def test_hostile_ids_and_tenants_stay_text(here: Path) -> None:
    drawn = load(12, tenant=EVIL)
    hostile = Workload("w", tuple(replace(r, request_id=f"{EVIL}{i}") for i, r in enumerate(drawn.requests)))
    record(here / "run", hostile)
    text = page("run")
    assert "<img src=x" not in text
    assert data_of(text)["runs"][0]["requests"]["request_id"][3] == f"{EVIL}3"
    assert EVIL in unescape(text)


def test_bands_and_parts_add_up(here: Path) -> None:
    made = record(here / "run")
    found, finished = view(made, "A"), made.requests
    assert sum(found.parts["all"]) == pytest.approx(finished["ttft_s"].mean() * 1e3)
    slow = found.parts[BANDS[-1][0]]
    assert sum(slow) == pytest.approx(finished["ttft_s"].max() * 1e3)
    assert len(slow) == len(PARTS)


def test_many_steps_become_spans_that_keep_means_and_extremes() -> None:
    rng = np.random.default_rng(0)
    count = 5 * MOST_STEPS
    at = np.cumsum(rng.exponential(0.01, count))
    steps = pd.DataFrame({"replica": 0, "schedule_s": at, "delivered_s": at + 0.001})
    for name in (*LINES, "prefill_tokens", *KV):
        steps[name] = rng.integers(0, 50, count)
    steps["num_tokens"] = steps["prefill_tokens"] + 7
    (line,) = timelines(steps)
    assert not line.is_exact
    assert len(line.at) == MOST_STEPS // 2 + 1
    lasts = np.diff(np.append(at, steps["delivered_s"].max()))
    spans = np.diff(line.at)
    for name in (*LINES, *KV):
        whole = (steps[name] * lasts).sum()
        assert (np.array(line.mean[name][:-1]) * spans).sum() == pytest.approx(whole, rel=1e-9)
    for name in LINES:
        assert max(line.high[name]) == steps[name].max()
        assert min(line.low[name]) == steps[name].min()
        assert (np.array(line.low[name]) <= np.array(line.mean[name]) + 1e-9).mean() > 0.9
    assert line.mean["decode_tokens"] == pytest.approx([7.0] * len(line.at))


def test_of_many_requests_the_slowest_are_there(here: Path) -> None:
    made = record(
        here / "run", synthesize(name="many", rate=400.0, num_requests=MOST_REQUESTS + 500, seed=2, scale=0.02)
    )
    found = view(made, "A")
    ids = found.requests["request_id"]
    assert len(ids) == len(set(ids)) == MOST_REQUESTS
    slowest = made.requests.nlargest(100, "ttft_s")["request_id"]
    assert set(slowest) <= set(ids)
    assert f"Of A simulated&#39;s {MOST_REQUESTS + 500} requests" in page("run").replace("'", "&#39;")


def test_a_fleet_has_a_timeline_for_each_replica(here: Path) -> None:
    spec = equal_replicas(2, "round-robin")
    simulate_fleet(here / "fleet", load(), spec, members(spec, Path(), NOISY, EngineSpec("vllm")))
    text = page("fleet")
    assert "A simulated, replica 0" in text
    assert "A simulated, replica 1" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--out", "p.html"], "no such folder"),
        (["run", "--out", "none/p.html"], "none"),
        (["run", "run", "run", "run", "run", "--out", "p.html"], "from 1 to 4"),
        (["run", "--out", "there.html"], "--force"),
    ],
)
def test_what_is_wrong_is_told(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    record(here / "run", load(5))
    Path("there.html").write_text("mine")
    assert run(["report", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("p.html").exists()
    assert Path("there.html").read_text() == "mine"


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_draws_it_and_selects_a_request(here: Path, theme: str) -> None:
    record(here / "sim")
    record(here / "other", spec=EngineSpec("nano-vllm"))
    page("sim", "other")
    chosen = data_of(Path("page.html").read_text())["runs"][0]["requests"]["request_id"][7]
    text, errors = shown(here / "page.html", f"request={chosen}&theme={theme}")
    assert not errors
    assert f'data-theme="{theme}"' in text
    assert 'data-drawn="13"' in text, "five charts of all runs, and four timelines of each"
    marked = re.findall(r'<tr[^>]*class="is-selected"[^>]*>\s*<td>([^<]*)</td>', text)
    assert marked == [chosen]
    assert f"<h3>A simulated: {chosen}</h3>" in text
    assert f"<h3>B simulated: {chosen}</h3>" in text


@needs_chromium
def test_a_browser_runs_nothing_of_a_hostile_id(here: Path) -> None:
    drawn = load(8)
    hostile = Workload("w", tuple(replace(r, request_id=f"{EVIL}{i}") for i, r in enumerate(drawn.requests)))
    record(here / "run", hostile)
    page("run")
    text, errors = shown(here / "page.html", "")
    assert not errors
    assert "<img" not in text
    assert 'data-drawn="9"' in text

"""Figures for a paper: as wide as a column, fonts that publishers take, a caption with the numbers, the same bytes."""

import re
import zlib
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from lab.cli import run
from lab.figures import _pages
from lab.paper import WIDTH_IN, Width, letter, style
from lab.runs import simulate_run
from records.manifest import Manifest
from serving.schedule.engine import EngineSpec
from tests.lab.test_replications import NOISY
from workloads.jsonl import write_jsonl
from workloads.synthesize import synthesize

POINTS_AN_INCH = 72


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies, a simulation and two "measured" runs each: simulations with noise that say that they are real."""
    here = tmp_path_factory.mktemp("paper")
    load = synthesize(name="w", rate=20, num_requests=30, seed=1, scale=0.2)
    write_jsonl(here / "w.jsonl", load)
    for policy in ("fcfs", "sjf"):
        spec = EngineSpec(policy=policy)
        simulate_run(here / f"sim-{policy}", load, NOISY, spec, "oracle")
        for n in (1, 2):
            folder = here / f"real-{policy}-{n}"
            simulate_run(folder, load, NOISY, spec, "oracle", noise_seed=n)
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
            real = manifest.model_copy(update={"world": "real", "seed": 0})
            (folder / "manifest.json").write_bytes(real.to_json())
    return here


@pytest.fixture
def records(made: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(made)
    return sorted(path.name for path in made.iterdir() if path.name.startswith(("sim-", "real-")))


def check_pdf(path: Path, width: Width) -> None:
    """One page of the width that was asked for; TrueType fonts, embedded, none of type 3; no date, no program name."""
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    boxes = re.findall(rb"/MediaBox \[ ?([\d. ]+?) ?\]", data)
    assert len(boxes) == 1
    _, _, wide, high = (float(number) for number in boxes[0].split())
    assert wide == pytest.approx(WIDTH_IN[width] * POINTS_AN_INCH)
    assert 0 < high <= 9.5 * POINTS_AN_INCH
    assert b"/Type3" not in data
    assert b"/FontFile2" in data
    assert b"/CreationDate" not in data
    assert b"/Producer" not in data


def drawn(path: Path) -> bytes:
    """What the page draws, unpacked."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    unpacked = []
    for stream in streams:
        try:
            unpacked.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(unpacked)


@pytest.mark.parametrize("width", ["single", "double"])
def test_figures_of_a_comparison(records: list[str], tmp_path: Path, width: Width) -> None:
    folder = tmp_path / "figures"
    command = ["compare", *records, "--figures", str(folder), "--paper", width]
    assert run(command) == 0
    names = ["latency", "policies", "steps"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{n}{end}" for n in names for end in (".pdf", ".txt")
    )
    for name in names:
        check_pdf(folder / f"{name}.pdf", width)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(command) == 0
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_captions_have_what_the_figure_leaves_out(
    records: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *records, "--figures", str(tmp_path / "f"), "--paper", "single"]) == 0
    latency = (tmp_path / "f" / "latency.txt").read_text()
    for told in ("(a) w under vllm/fcfs: 30 requests; 2 measured and 1 simulated runs.", "(b) w under vllm/sjf"):
        assert told in latency
    assert latency.count("ttft p99: measured ") == 2
    policies = (tmp_path / "f" / "policies.txt").read_text()
    assert "Kendall's tau" in policies
    assert policies.count("vllm/sjf: measured ") == len(re.findall(r"^\([a-z]\)", policies, re.MULTILINE)) > 1
    assert "residual" in (tmp_path / "f" / "steps.txt").read_text()


def test_lines_are_vectors_and_differ_without_colour(records: list[str], tmp_path: Path) -> None:
    """Measured is a solid line, simulated a dashed one; the parts of TTFT have hatches (patterns, in PDF)."""
    assert run(["compare", *records, "--figures", str(tmp_path / "f"), "--paper", "double"]) == 0
    page = drawn(tmp_path / "f" / "latency.pdf")
    dashes = {dash for dash in re.findall(rb"\[([\d. ]*)\] [\d.]+ d", page) if dash.strip()}
    assert dashes
    assert b"/PatternType 1" in (tmp_path / "f" / "latency.pdf").read_bytes()
    assert b"/Subtype /Image" not in (tmp_path / "f" / "latency.pdf").read_bytes()


@pytest.mark.parametrize("width", ["single", "double"])
def test_figure_of_a_workload(records: list[str], tmp_path: Path, width: Width) -> None:
    path = tmp_path / "w.pdf"
    assert run(["workload", "describe", "w.jsonl", "--figure", str(path), "--paper", width]) == 0
    check_pdf(path, width)
    caption = path.with_suffix(".txt").read_text()
    assert "the workload w, 30 requests" in caption
    assert "prompt tokens: mean" in caption


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("compare sim-fcfs real-fcfs-1 --paper single", "--paper has no effect without --figures"),
        ("workload describe w.jsonl --paper single", "--paper has no effect without --figure"),
        ("workload describe w.jsonl --paper single --figure w.png", "give a name that ends in .pdf"),
        ("workload describe w.jsonl --paper wide --figure w.pdf", "single"),
    ],
)
def test_wrong_use(records: list[str], words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    assert run(words.split()) == 2
    assert told in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_the_style_ends_with_its_block() -> None:
    before = dict(mpl.rcParams)
    with style("single"):
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["font.size"] == 8
    assert dict(mpl.rcParams) == before
    with style(None):
        assert dict(mpl.rcParams) == before


def test_letters() -> None:
    assert [letter(n) for n in (0, 25, 26)] == ["(a)", "(z)", "(27)"]


def test_what_does_not_fit_on_a_page_goes_on_in_a_second_figure() -> None:
    cells: list[Any] = list("abcdefg")
    assert list(_pages(cells, 3)) == [("", ["a", "b", "c"]), ("-page-2", ["d", "e", "f"]), ("-page-3", ["g"])]
    assert list(_pages(cells, None)) == [("", cells)]

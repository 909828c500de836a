"""A sweep file: every error says in which line, about which key, and what to do."""

from pathlib import Path

import pytest

from lab.run_figures import FIGURES
from lab.sweep.cells import Cell, CellMaker, design
from lab.sweep.read_spec import read_spec
from lab.sweep.spec import Latin, Study, Until
from lab.sweep.yaml_file import read_yaml
from serving.errors import ConfigError
from tests.lab.sweep.made import NOISY, SMALL, start, write

HEAD = """\
profile: h100-qwen3-14b-vllm
workload: {requests: 10}
rate: 4
"""
LATIN = HEAD + "engines:\n  a: {}\n"


def cells_of(path: Path) -> tuple[Cell, ...]:
    spec = read_spec(path)
    return design(spec, CellMaker(spec))


def told(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        cells_of(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "sweep.yaml:1: the file is empty"),
        ("- a\n", "sweep.yaml:1: must be a mapping"),
        ("profile: x\n\n  y: 3\n", "sweep.yaml:3: not YAML: mapping values are not allowed here"),
        ("profile: [a\n", "sweep.yaml:2: not YAML"),
        ("profile: !!python/object:os.system x\n", "sweep.yaml:1: not YAML: could not determine a constructor"),
        ("profile: &a [*a]\n", "profile[0]: an alias inside its own anchor"),
        ("1: x\n", "sweep.yaml:1: a key must be text"),
        ("profile: 2024-01-01\n", "profile: '2024-01-01' is read as a date; quote it"),
        (HEAD, "sweep.yaml:1: the key engines is missing"),
        (HEAD + "engines: {a: {}}\nrate: 5\n", "sweep.yaml:5: rate: is there twice, first in line 3"),
        (HEAD + "engnes: {a: {}}\n", "sweep.yaml:4: engnes: unknown key; did you mean engines?"),
        (HEAD + "engines:\n  a:\n    polcy: sjf\n", "sweep.yaml:6: engines.a.polcy: unknown key; did you mean policy?"),
        (HEAD + "engines: {a: {policy: sfj}}\n", "engines.a.policy: unknown policy 'sfj'; did you mean sjf?"),
        (HEAD + "engines: {a: {preset: vlm}}\n", "engines.a.preset: unknown: 'vlm'; did you mean vllm?"),
        (
            HEAD + "engines:\n  a:\n    policy: sjf\n    policy_options:\n      size: 3\n",
            "sweep.yaml:8: engines.a.policy_options.size: sjf has no option 'size'",
        ),
        (HEAD + "engines: {a: {policy_options: {by: total}}}\n", "policy_options: has no effect without policy"),
        (HEAD + "engines: {a: {settings: {max_seqs: 3}}}\n", "max_seqs: unknown key; did you mean max_num_seqs?"),
        (
            HEAD + "engines: {a: {}}\nsettings:\n  max_num_seqs: many\n",
            "sweep.yaml:6: settings.max_num_seqs: must be a",
        ),
        (HEAD + "engines: {a: {}}\nsettings: {max_num_seqs: [4, 4]}\n", "settings.max_num_seqs[1]: 4 is there twice"),
        (HEAD + "engines: {a: {}}\nsettings: {max_num_seqs: []}\n", "settings.max_num_seqs: an empty list"),
        (
            HEAD + "engines:\n  a: {settings: {max_num_seqs: 4}}\nsettings:\n  max_num_seqs: 3\n",
            "sweep.yaml:7: settings.max_num_seqs: has no effect: every engine has its own",
        ),
        (
            HEAD + "engines:\n  a: {preset: orca}\nsettings:\n  max_num_batched_tokens: 512\n",
            "sweep.yaml:7: settings.max_num_batched_tokens: max_num_batched_tokens has no effect under preset orca",
        ),
        (
            HEAD + "engines:\n  a: {}\n  b: {}\n",
            "sweep.yaml:6: engines.b: makes the same simulation as a a second time",
        ),
        (
            HEAD + "engines: {a: {}}\nrouter: round-robin\n",
            "sweep.yaml:5: router: router has no effect without replicas",
        ),
        (HEAD.replace("vllm", "vlm") + "engines: {a: {}}\n", "sweep.yaml:1: profile: profile 'h100-qwen3-14b-vlm'"),
        (HEAD.replace("rate: 4", "rate: fast") + "engines: {a: {}}\n", "rate: must be a number, not 'fast'"),
        (
            HEAD.replace("rate: 4", "rate: 1e1") + "engines: {a: {}}\n",
            "rate: must be a number, not the text '1e1' (YAML",
        ),
        (HEAD.replace("rate: 4", "") + "engines: {a: {}}\n", "requests that are drawn need a rate"),
        (HEAD.replace("10}", "10, rate: 3}") + "engines: {a: {}}\n", "workload.rate: belongs to the top of the file"),
        (HEAD.replace("10}", "10, lengths: azur-conv}") + "engines: {a: {}}\n", "workload.lengths: "),
        (HEAD.replace("requests: 10", "file: w.jsonl") + "engines: {a: {}}\n", "workload.file: there is no file"),
        (HEAD + "engines: {a: {}}\nslo: {}\n", "slo: give ttft_s, tpot_s or both"),
        (HEAD + "engines: {a: {}}\nrank_by: ttft.p9\n", "rank_by: unknown: 'ttft.p9'; did you mean ttft.p99?"),
        (HEAD + "engines: {a: {}}\nrank_by: slo.attainment\n", "rank_by: slo.attainment needs a service level"),
        (HEAD + "engines: {a: {}}\nrank_by: cost.total\n", "rank_by: cost.total needs a price"),
        (HEAD + "engines: {a: {}}\nbudget: {runs: 3}\n", "budget: has no effect without seeds.until"),
        (HEAD + "engines: {a: {}}\nseeds: 0\n", "seeds: is 0; it must be at least 1"),
        (HEAD + "engines: {a: {}}\nseeds: {most: 3}\n", "seeds: the key until is missing"),
        (
            HEAD + "engines: {a: {}}\nseeds: {most: 3, until: {figure: ttft.mean, half_width: two %}}\n",
            "seeds.until.half_width: 'two %' is no percentage; write it like 2 %",
        ),
        (
            HEAD + "engines: {a: {}}\nseeds: {most: 3, until: {figure: ttft.mean, half_width: 2 %, of: some}}\n",
            "seeds.until.of: unknown: 'some'",
        ),
        (HEAD + "engines: {a: {}}\nsearch: gird\n", "search: unknown: 'gird'; did you mean grid?"),
        (LATIN + "search: {latin-hypercube: {points: 3}}\n", "search.latin-hypercube: the key ranges is missing"),
        (
            LATIN
            + "search:\n  latin-hypercube:\n    points: 3\n    ranges:\n      settings.max_seqs: {low: 1, high: 2}\n",
            "sweep.yaml:10: search.latin-hypercube.ranges.settings.max_seqs: unknown setting 'max_seqs'",
        ),
        (
            LATIN + "search: {latin-hypercube: {points: 3, ranges: {settings.max_num_seqs: {low: 4, high: 2}}}}\n",
            "ranges.settings.max_num_seqs.high: is 2; it must be above low, 4",
        ),
        (
            LATIN
            + "search: {latin-hypercube: {points: 3, ranges: {engines.b.settings.max_num_seqs: {low: 1, high: 2}}}}\n",
            "no engine has 'engines.b.settings.max_num_seqs'",
        ),
        (
            LATIN.replace("rate: 4", "rate: [4, 5]")
            + "search: {optuna: {trials: 3, objectives: {ttft.mean: minimize}}}\n",
            "sweep.yaml:3: rate: a study compares trials under one load",
        ),
        (
            LATIN + "search: {optuna: {trials: 3, objectives: {ttft.mean: less}}}\n",
            "search.optuna.objectives.ttft.mean: unknown: 'less'",
        ),
    ],
)
def test_an_error_says_where_it_is_and_what_to_do(tmp_path: Path, text: str, error: str) -> None:
    assert error in told(tmp_path, text)


def test_one_wrong_key_in_two_hundred_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*HEAD.splitlines(), "engines:"]
    for i in range(49):
        lines += [f"  e{i}:", "    preset: vllm", "    settings:", f"      max_num_seqs: {i + 1}"]
    assert len(lines) == 200
    write(tmp_path, "\n".join(lines))
    assert start(tmp_path / "sweep.yaml", "--dry-run") == 0
    lines[133] = lines[133].replace("preset", "presett")
    assert start(write(tmp_path, "\n".join(lines)), "--out", tmp_path / "out") == 2
    assert "sweep.yaml:134: engines.e32.presett: unknown key; did you mean preset?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    bomb = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="stands for more than"):
        read_yaml(write(tmp_path, "\n".join(bomb)))


def test_what_a_file_says(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    assert [engine.name for engine in spec.engines] == ["fcfs", "las"]
    assert spec.seeds.begin == (1, 2, 3)
    assert spec.rank_by == "ttft.mean"
    rule = "{first: 5, least: 2, most: 4, until: {figure: e2e.p99, half_width: 2 %}}"
    spec = read_spec(write(tmp_path, SMALL.replace("seeds: 3", f"seeds: {rule}\nbudget: {{runs: 99}}")))
    assert (spec.seeds.begin, spec.seeds.limit) == ((5, 6), (5, 6, 7, 8))
    assert spec.seeds.until == Until("e2e.p99", 0.02, True)
    assert (spec.rank_by, spec.budget) == ("e2e.p99", 99)
    every = read_spec(write(tmp_path, SMALL.replace("seeds: 3", f"seeds: {rule.replace('2 %', '0.2, of: all')}")))
    assert every.seeds.until == Until("e2e.p99", 0.2, False, of_all=True)


def test_the_same_file_elsewhere_is_the_same_sweep(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert read_spec(write(tmp_path)).sha256() == read_spec(write(other)).sha256()
    changed = read_spec(write(other, SMALL.replace("60", "61")))
    assert changed.sha256() != read_spec(write(tmp_path)).sha256()


def test_the_files_it_names_are_a_part_of_it(tmp_path: Path) -> None:
    from workloads.jsonl import write_jsonl
    from workloads.synthesize import synthesize

    text = SMALL.replace('{requests: 12, lengths: "constant(prompt=200, output=8)"}', "{file: w.jsonl}")
    digests = set()
    for seed in (1, 2):
        write_jsonl(tmp_path / "w.jsonl", synthesize(name="w", rate=5, num_requests=5, seed=seed))
        digests.add(read_spec(write(tmp_path, text)).sha256())
    assert len(digests) == 2


def test_more_seeds_than_there_is_chance(tmp_path: Path) -> None:
    from workloads.jsonl import write_jsonl
    from workloads.synthesize import synthesize

    write_jsonl(tmp_path / "w.jsonl", synthesize(name="w", rate=5, num_requests=5, seed=1))
    quiet = HEAD.replace("requests: 10", "file: w.jsonl") + "engines: {a: {}}\nseeds: 2\n"
    error = told(tmp_path, quiet)
    assert "sweep.yaml:5: seeds: " in error
    assert "no chance" in error
    assert len(read_spec(write(tmp_path, quiet.replace("h100-qwen3-14b-vllm", NOISY))).seeds.begin) == 2


def test_the_file_in_the_documentation_can_be_read(repo: Path, tmp_path: Path) -> None:
    text = (repo / "docs" / "sweeps.md").read_text().partition("## The file\n\n")[2].partition("\n\nA list")[0]
    spec = read_spec(write(tmp_path, "\n".join(line[4:] for line in text.splitlines())))
    example = read_spec(repo / "docs" / "examples" / "sweep-policies.yaml")
    assert {**spec.as_dict(), "name": ""} == {**example.as_dict(), "name": ""}


@pytest.mark.parametrize("name", ["sweep-policies", "sweep-latin", "sweep-study"])
def test_the_examples_can_be_read(repo: Path, name: str) -> None:
    spec = read_spec(repo / "docs" / "examples" / f"{name}.yaml")
    assert spec.rank_by in FIGURES
    assert isinstance(spec.search, Latin) == (name == "sweep-latin")
    assert isinstance(spec.search, Study) == (name == "sweep-study")

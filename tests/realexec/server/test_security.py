"""docs/security.md is a checklist: each row names its tests, and they exist. And what must not be in the code."""

import ast
import re
import threading
from pathlib import Path

import pytest

from realexec.server.worlds import simulated
from realexec.tokenizer.bytewise import ByteTokenizer
from tests.realexec.server.served import QUICK, FlatCost, served

PACKAGES = ("serving", "records", "workloads", "sim", "realexec", "calibration", "lab")
BANNED_MODULES = ("pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "xmlrpc")
BANNED_CALLS = ("eval", "exec", "compile", "torch.load", "yaml.load", "numpy.load", "np.load")
FETCHERS = ("requests", "httpx", "aiohttp", "urllib.request", "http.client", "ftplib", "socketserver")
ROW = re.compile(r"^\| (?P<what>[^|]+)\|(?P<rest>.*)\|$")
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


def sources(repo: Path, *folders: str) -> list[tuple[Path, ast.Module]]:
    files = [file for folder in folders for file in sorted((repo / folder).rglob("*.py"))]
    assert files
    return [(file, ast.parse(file.read_text())) for file in files]


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_row_of_the_checklist_names_tests_that_exist(repo: Path) -> None:
    rows = [m for m in map(ROW.match, (repo / "docs/security.md").read_text().splitlines()) if m]
    rows = [row for row in rows if not set(row["what"]) <= set("- ") and row["what"].strip() != "what could happen"]
    assert len(rows) >= 14
    for row in rows:
        tests = TEST.findall(row["rest"])
        assert tests, f"no test is named for: {row['what']}"
        for file, name in tests:
            assert re.search(rf"^(async )?def {name}\(", (repo / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_nothing_deserializes_code(repo: Path) -> None:
    for file, tree in sources(repo, *PACKAGES):
        roots = {name.partition(".")[0] for name in imported(tree)}
        assert not roots & set(BANNED_MODULES), file
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in BANNED_CALLS, f"{file}:{node.lineno}"


def test_no_code_of_a_model_is_ever_run(repo: Path) -> None:
    for file, tree in sources(repo, *PACKAGES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert "trust_remote_code" not in [keyword.arg for keyword in node.keywords], f"{file}:{node.lineno}"


def test_the_server_fetches_nothing(repo: Path) -> None:
    for file, tree in sources(repo, "realexec/server"):
        assert not imported(tree) & set(FETCHERS), file


def test_the_server_compiles_no_pattern_of_a_client(repo: Path) -> None:
    for file, tree in sources(repo, "realexec/server"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
                assert isinstance(node.args[0], ast.Constant), f"{file}:{node.lineno}"


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_a_long_prompt_is_tokenized_beside_the_loop(path: str) -> None:
    threads: list[str] = []

    class Watched(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            threads.append(threading.current_thread().name)
            return super().encode(text)

    with served(simulated(FlatCost(), Watched(), 300)) as server:
        threads.clear()
        server.post(path, prompt="short")
        server.post(path, prompt="a" * QUICK.offload_bytes)
    assert threads[0] == "served"
    assert threads[1] != "served"


def test_what_clients_say_is_not_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with served() as server, server.client(headers={"x-request-id": "secret-id"}) as client:
        client.post("/v1/completions", json={"prompt": "secret words", "max_tokens": 3})
        client.post("/v1/completions", json={"prompt": "secret words", "n": 3})
        client.get("/secret-path")
    said = capfd.readouterr()
    assert "secret" not in caplog.text + said.out + said.err

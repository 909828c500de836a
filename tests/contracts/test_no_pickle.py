"""A file that somebody sends must not be able to run code: no reader that can, and no eval."""

import ast
from collections.abc import Iterator

import pytest

from tests.contracts.source import PACKAGES, Module, modules

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
READERS = {
    ("torch", "load"),
    ("torch", "save"),  # what it writes is read with torch.load
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("jit", "load"),  # torch.jit
}
METHODS = {"read_pickle", "to_pickle"}


def breaches(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: {a.name}" for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            root = node.module.partition(".")[0]
            if root in MODULES:
                yield f"{node.lineno}: {node.module}"
            last = node.module.rpartition(".")[2]
            yield from (f"{node.lineno}: {last}.{a.name}" for a in node.names if (last, a.name) in READERS)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
                yield f"{node.lineno}: {node.func.id}()"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield f"{node.lineno}: allow_pickle"
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in READERS or node.attr in METHODS:
                yield f"{node.lineno}: {owner}.{node.attr}"


@pytest.mark.parametrize("module", modules(*PACKAGES), ids=str)
def test_no_reader_that_runs_code(module: Module) -> None:
    assert not [f"{module.path}:{breach}" for breach in breaches(module.tree)]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "def f():\n    import shelve",
        "eval(text)",
        "exec(text)",
        "yaml.load(file)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_a_breach_is_seen(line: str) -> None:
    assert list(breaches(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile(a)", "np.load(path, allow_pickle=False)", "json.load(file)"]
)
def test_what_is_allowed_passes(line: str) -> None:
    assert not list(breaches(ast.parse(line)))

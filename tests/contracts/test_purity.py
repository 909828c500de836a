"""Decisions follow from what the scheduler was told: read off the source of serving, sim and workloads."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.source import Module, modules

# What of the standard library an engine may use to decide.
SERVING_MAY_IMPORT = {
    "__future__",
    "abc",
    "array",
    "ast",
    "bisect",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "importlib",
    "inspect",
    "itertools",
    "json",
    "keyword",
    "math",
    "numbers",
    "operator",
    "pkgutil",
    "re",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
}
CLOCKS = {"time", "datetime"}
CLOCK_CALLS = {
    "now",
    "utcnow",
    "today",
    "perf_counter",
    "perf_counter_ns",
    "monotonic",
    "monotonic_ns",
    "time_ns",
}
# Made from a seed, or a bit generator that was.
SEEDED = {
    "default_rng",
    "SeedSequence",
    "PCG64",
    "PCG64DXSM",
    "Philox",
    "SFC64",
    "MT19937",
    "Generator",
    "Random",
}
# These give the same for any order of what they are fed.
ORDER_FREE = {"sorted", "len", "any", "all", "sum", "min", "max", "set", "frozenset"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}


def name_of(node: ast.expr) -> str:
    """`a.b.c` for such an expression, else an empty string."""
    if isinstance(node, ast.Attribute):
        head = name_of(node.value)
        return f"{head}.{node.attr}" if head else ""
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, name_of(node.func)


def identity_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """hash() of a string differs from process to process, id() from run to run."""
    for node, name in calls(tree):
        if name in {"hash", "id"}:
            yield node.lineno, f"{name}()"


def environment_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and name_of(node) in {"os.environ", "os.getenv"}:
            yield node.lineno, name_of(node)
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node.lineno, a.name) for a in node.names if a.name in {"environ", "getenv"})


def clock_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node, name in calls(tree):
        head, _, last = name.rpartition(".")
        if (last in CLOCK_CALLS and head.split(".")[-1] in {*CLOCKS, "date"}) or name in CLOCK_CALLS - {"now"}:
            yield node.lineno, f"{name}()"


def unseeded_draws(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """A generator made of nothing, or a draw from the one that numpy or random share with everybody."""
    for node, name in calls(tree):
        head, _, last = name.rpartition(".")
        of_module = head in {"random", "np.random", "numpy.random"}
        if last in SEEDED and (of_module or not head):
            arguments = [*node.args, *(k.value for k in node.keywords)]
            if not arguments or all(isinstance(a, ast.Constant) and a.value is None for a in arguments):
                yield node.lineno, f"{name}() without a seed"
        elif of_module:
            yield node.lineno, f"{name}()"


class Sets(ast.NodeVisitor):
    """Lines where the order of a set can be seen.

    A set is a literal, set(), frozenset(), a comprehension, an operation on one, or a name or attribute that
    was assigned or annotated as one in this file. Dictionaries keep their order and are fine.
    """

    def __init__(self, tree: ast.AST) -> None:
        self.found: list[tuple[int, str]] = []
        self.known: set[str] = set()
        self.not_seen: set[ast.AST] = set()
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.AnnAssign | ast.arg) and self.annotated_set(node.annotation):
                self.known.add(node.arg if isinstance(node, ast.arg) else name_of(node.target))
        for node in nodes:
            if isinstance(node, ast.Assign) and self.is_set(node.value):
                self.known |= {name_of(target) for target in node.targets}
        self.known |= {f"self.{name}" for name in self.known if "." not in name}  # fields of a dataclass
        self.known -= {"", "self."}
        self.visit(tree)

    @staticmethod
    def annotated_set(annotation: ast.expr | None) -> bool:
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        return annotation is not None and name_of(annotation).split(".")[-1] in {
            "set",
            "frozenset",
            "Set",
            "AbstractSet",
        }

    def is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub | ast.BitXor):
            return self.is_set(node.left) or self.is_set(node.right)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in SET_METHODS | {"copy"}:
                return self.is_set(node.func.value)
            return name_of(node.func) in {"set", "frozenset"}
        return name_of(node) in self.known

    def order_seen(self, node: ast.expr, how: str) -> None:
        if self.is_set(node):
            self.found.append((node.lineno, f"{how} of the set {ast.unparse(node)}"))

    def visit_For(self, node: ast.For) -> None:
        self.order_seen(node.iter, "iteration")
        self.generic_visit(node)

    def visit_comprehensions(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if node not in self.not_seen:
            for generator in node.generators:
                self.order_seen(generator.iter, "iteration")
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_DictComp = visit_comprehensions  # noqa: N815

    def visit_Starred(self, node: ast.Starred) -> None:
        self.order_seen(node.value, "unpacking")
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:  # {*a, *b} is a set again
        for element in node.elts:
            self.visit(element.value if isinstance(element, ast.Starred) else element)

    def visit_Call(self, node: ast.Call) -> None:
        name = name_of(node.func)
        if name in ORDER_FREE:
            self.not_seen |= {a for a in node.args if isinstance(a, ast.GeneratorExp | ast.ListComp)}
        elif name in {
            "list",
            "tuple",
            "iter",
            "enumerate",
            "zip",
            "map",
            "filter",
            "reversed",
            "dict.fromkeys",
        } or (isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "extend", "extendleft", "fromkeys"}):
            for argument in node.args:
                self.order_seen(argument, name or "use")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args:
            self.order_seen(node.func.value, "pop")
        self.generic_visit(node)


def report(module: Module, found: list[tuple[int, str]]) -> list[str]:
    return [f"{module.path}:{line}: {what}" for line, what in found]


@pytest.mark.parametrize("module", modules("serving"), ids=str)
def test_serving_imports_nothing_but_harmless_standard_library(module: Module) -> None:
    foreign = {name for name in module.imported_roots() if name not in SERVING_MAY_IMPORT and name != "serving"}
    assert not foreign, f"{module.path} imports {', '.join(sorted(foreign))}"


@pytest.mark.parametrize("module", modules("sim"), ids=str)
def test_sim_has_no_clock_but_the_simulated_one(module: Module) -> None:
    assert not module.imported_roots() & CLOCKS, module.path


@pytest.mark.parametrize("module", modules("serving", "sim"), ids=str)
def test_no_identity_no_environment_no_set_order(module: Module) -> None:
    found = [*identity_calls(module.tree), *environment_reads(module.tree), *Sets(module.tree).found]
    assert not found, "\n".join(report(module, found))


@pytest.mark.parametrize("module", modules("serving", "sim", "workloads"), ids=str)
def test_no_clock_is_read_and_nothing_is_drawn_without_a_seed(module: Module) -> None:
    found = [*clock_reads(module.tree), *unseeded_draws(module.tree)]
    assert not found, "\n".join(report(module, found))


@pytest.mark.parametrize(
    "line",
    [
        "hash('a')",
        "sorted(x, key=id) or id(x)",
        "os.environ['A']",
        "from os import environ",
        "time.perf_counter_ns()",
        "datetime.datetime.now()",
        "np.random.default_rng()",
        "default_rng(None)",
        "np.random.rand(3)",
        "random.random()",
        "random.Random()",
        "for x in {1, 2}: pass",
        "for x in set(a): pass",
        "[x for x in set(a) - set(b)]",
        "s = set(a)\nlist(s)",
        "class A:\n  s: set[int]\n  def f(self): return [x for x in self.s]",
        "def f(s: set[str]): return ','.join(s)",
        "s = {1}\ns.pop()",
        "[*{1, 2}]",
    ],
)
def test_a_breach_is_seen(line: str) -> None:
    assert everything(line)


@pytest.mark.parametrize(
    "line",
    [
        "sorted(set(a))",
        "x in {1, 2}",
        "len(set(a)) == len(a)",
        "sum(x for x in {1, 2})",
        "{x for x in set(a)}",
        "{*a, *b}",
        "d = {}\nfor x in d: d.pop(x)",
        "np.random.default_rng(seed)",
        "np.random.Generator(np.random.PCG64(seed))",
        "rng.random()",
        "env.now",
        "datetime.fromisoformat(a)",
        "self.now()",
    ],
)
def test_what_is_allowed_passes(line: str) -> None:
    assert not everything(line)


def everything(line: str) -> list[tuple[int, str]]:
    tree = ast.parse(line)
    return [
        *identity_calls(tree),
        *environment_reads(tree),
        *clock_reads(tree),
        *unseeded_draws(tree),
        *Sets(tree).found,
    ]


def test_the_allowed_list_is_of_the_standard_library() -> None:
    assert set(sys.stdlib_module_names) >= SERVING_MAY_IMPORT


def test_something_was_read(repo: Path) -> None:
    assert {m.path for m in modules("serving")} >= {"serving/errors.py", "serving/schedule/contract.py"}

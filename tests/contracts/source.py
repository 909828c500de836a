"""The project's own source files, parsed: what the contract tests look at."""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("serving", "records", "workloads", "sim", "realexec", "calibration", "lab")


@dataclass(frozen=True, eq=False)
class Module:
    """name: as it is imported. path: from the root of the tree."""

    name: str
    path: str
    tree: ast.Module

    def __str__(self) -> str:
        return self.name

    def imported(self, top_level_only: bool = False) -> set[str]:
        """Absolute names of what it imports; `from a import b` counts as a and as a.b.

        top_level_only: leave out what is imported when a function is called.
        """
        found = set()
        stack: list[ast.AST] = [self.tree]
        while stack:
            node = stack.pop()
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
            elif top_level_only and (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(node)
            ):
                continue
            stack.extend(ast.iter_child_nodes(node))
        return found

    def imported_roots(self) -> set[str]:
        return {name.partition(".")[0] for name in self.imported()}

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        is_package = self.path.endswith("__init__.py")
        parents = parts[: len(parts) - node.level + is_package]
        return ".".join([*parents, *([node.module] if node.module else [])])


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


@functools.cache
def _parse(path: Path) -> Module:
    relative = path.relative_to(REPO)
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, relative.as_posix(), ast.parse(path.read_text(encoding="utf-8"), str(path)))


def modules(*packages: str) -> list[Module]:
    """Every module of these packages, in the order of their paths."""
    return [_parse(path) for package in packages for path in sorted((REPO / package).rglob("*.py"))]

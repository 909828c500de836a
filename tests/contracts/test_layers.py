"""The floors of the house: which folder may import which (pyproject.toml, [tool.importlinter])."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

NOT_PACKAGES = {"tests", "notebooks", "docs", "benchmarks"}  # hold Python files that nobody imports
PRODUCTS = {"build", "dist", "runs"}


@pytest.fixture(scope="module")
def project(repo: Path) -> dict:
    return tomllib.loads((repo / "pyproject.toml").read_text())


def contract(project: dict, name: str) -> dict:
    return next(c for c in project["tool"]["importlinter"]["contracts"] if c["id"] == name)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """A fresh process, in which `folder` comes first on the path."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_every_folder_with_python_is_on_a_floor(repo: Path, project: dict) -> None:
    found = {
        folder.name
        for folder in repo.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name not in NOT_PACKAGES | PRODUCTS
        and any(folder.rglob("*.py"))
    }
    floors = {part.strip() for layer in contract(project, "layers")["layers"] for part in layer.split("|")}
    linted = set(project["tool"]["importlinter"]["root_packages"])
    patterns = set(project["tool"]["setuptools"]["packages"]["find"]["include"])
    packaged = {pattern for pattern in patterns if not pattern.endswith(".*")}
    typed = set(project["tool"]["mypy"]["packages"])
    assert found <= floors, "a folder is in no contract: give it a floor, or add it to NOT_PACKAGES"
    assert floors == linted == packaged == typed
    assert patterns == packaged | {f"{name}.*" for name in packaged}


def test_every_package_folder_has_an_init(repo: Path, project: dict) -> None:
    """Without one, setuptools leaves the folder out of the wheel and import-linter does not look into it."""
    without = [
        str(folder.relative_to(repo))
        for root in project["tool"]["importlinter"]["root_packages"]
        for folder in {file.parent for file in (repo / root).rglob("*.py")}
        if not (folder / "__init__.py").exists()
    ]
    assert not without


def test_no_dependency_has_one_of_our_names(project: dict) -> None:
    """pip would overwrite one with the other without a word: docs/decisions/02-top-level-packages.md."""
    owners = importlib.metadata.packages_distributions()
    names = project["tool"]["importlinter"]["root_packages"]
    assert {owner for name in names for owner in owners.get(name, [])} <= {"servetwin"}


def test_the_contracts_hold(repo: Path) -> None:
    result = lint_imports(repo)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("serving", "import records"),
        ("records", "import workloads"),
        ("workloads", "import sim"),
        ("sim", "import realexec"),
        ("realexec", "import sim"),
        ("calibration", "import lab"),
        ("serving", "def f():\n    import time"),
        ("serving", "import numpy"),
        ("sim", "import torch"),
        ("workloads", "import numba"),
        ("lab", "import torch"),
        ("realexec", "import simpy"),
    ],
)
def test_a_breach_is_seen(repo: Path, project: dict, tmp_path: Path, module: str, line: str) -> None:
    """The same contracts over empty packages and one bad line: a check that cannot fail proves nothing."""
    (tmp_path / "pyproject.toml").write_text((repo / "pyproject.toml").read_text())
    for name in project["tool"]["importlinter"]["root_packages"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(line + "\n" if name == module else "")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


@pytest.mark.parametrize(("module", "line"), [("realexec", "import torch"), ("lab", "import calibration")])
def test_what_is_allowed_passes(repo: Path, project: dict, tmp_path: Path, module: str, line: str) -> None:
    """lab may reach torch through calibration."""
    (tmp_path / "pyproject.toml").write_text((repo / "pyproject.toml").read_text())
    for name in project["tool"]["importlinter"]["root_packages"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            line + "\n" if name == module else "import torch\n" if name == "calibration" else ""
        )
    result = lint_imports(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr

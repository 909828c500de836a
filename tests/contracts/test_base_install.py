"""Without the extras, everything but the real world still imports; and what is imported was asked for."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contracts.source import PACKAGES, Module, modules

IMPORT_NAME = {
    "scikit-learn": "sklearn",
    "prometheus-client": "prometheus_client",
    "import-linter": "importlinter",
    "pytest-timeout": "pytest_timeout",
    "pyyaml": "yaml",
}
STUBS = {"pandas-stubs", "scipy-stubs", "types-PyYAML"}
REAL_WITHOUT_TORCH = (
    "realexec.compute",
    "realexec.engine",
    "realexec.loaded",
    "realexec.paced",
    "realexec.shapes",
    "realexec.text",
    "realexec.tokenizer",
)
NEEDS_TORCH = ("torch", "triton", "numba", "realexec")

IMPORT_ALL = """
import importlib, importlib.abc, json, sys

blocked, names = json.loads(sys.argv[1])

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}: it is in an extra", name=name)

sys.meta_path.insert(0, Absent())
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""


def requirement_name(requirement: str) -> str:
    for end in "<>=!~;[ ":
        requirement = requirement.partition(end)[0]
    return requirement


@pytest.fixture(scope="module")
def project(repo: Path) -> dict:
    return tomllib.loads((repo / "pyproject.toml").read_text())["project"]


def import_names(requirements: list[str]) -> set[str]:
    names = {requirement_name(requirement) for requirement in requirements} - STUBS
    return {IMPORT_NAME.get(name, name) for name in names}


def measures(module: Module) -> bool:
    """Whether importing it (not calling it) asks for torch, or for the part of the real world that does."""
    return any(
        name.partition(".")[0] in NEEDS_TORCH and not is_real_without_torch(name)
        for name in module.imported(top_level_only=True)
    )


def is_real_without_torch(name: str) -> bool:
    return name == "realexec" or any(f"{name}.".startswith(f"{free}.") for free in REAL_WITHOUT_TORCH)


def base_modules() -> list[str]:
    """What must import without any extra.

    Of calibration and lab: the packages, lab.cli, and every module that does not itself ask for torch or the
    engine at the top. A module that imports such a one must do so where it is used.
    """
    chosen = [m.name for m in modules("serving", "records", "workloads", "sim")]
    chosen += [m.name for m in modules("realexec") if is_real_without_torch(m.name)]
    always = {"calibration", "lab", "lab.cli"}
    chosen += [m.name for m in modules("calibration", "lab") if m.name in always or not measures(m)]
    return [name for name in chosen if not name.endswith("__main__")]


def test_base_modules_import_without_the_extras(repo: Path, project: dict) -> None:
    extras = project["optional-dependencies"]
    blocked = set().union(*(import_names(requirements) for requirements in extras.values()))
    blocked -= import_names(project["dependencies"])
    assert {"torch", "triton", "numba", "tokenizers", "safetensors"} <= blocked
    result = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::SyntaxWarning",
            "-c",
            IMPORT_ALL,
            json.dumps([sorted(blocked), base_modules()]),
        ],
        cwd=repo,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    failed = json.loads(result.stdout.splitlines()[-1])
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())


@pytest.mark.parametrize("module", modules(*PACKAGES), ids=str)
def test_every_import_is_declared(module: Module, project: dict) -> None:
    """What only comes along with another package is gone when that one drops it, as jinja2 with torch."""
    allowed = {*sys.stdlib_module_names, *PACKAGES, *import_names(project["dependencies"])}
    package, extras = module.name.partition(".")[0], project["optional-dependencies"]
    if package in {"realexec", "calibration", "lab"}:
        allowed |= import_names(extras["real"]) | import_names(extras["models"])
    if package == "lab":
        allowed |= set().union(*(import_names(extras[name]) for name in extras.keys() - {"dev", "notebooks"}))
    unknown = module.imported_roots() - allowed
    assert not unknown, f"{module.path} imports {', '.join(sorted(unknown))}, which pyproject.toml does not ask for"

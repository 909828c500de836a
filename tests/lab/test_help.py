"""Every command says what it does, with an example, and which exit codes there are."""

import re
from collections.abc import Iterator

import pytest
from cyclopts import App

from lab.cli import app, run


def commands(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in of:
        if name.startswith("-"):
            continue
        inner = of[name]
        below = list(commands(inner, (*path, name)))
        yield from below or [(*path, name)]


COMMANDS = list(commands(app))
UNITS = re.compile(
    r"second|\bms\b|millisecond|tokens|requests|GiB|GB/s|\bper\b|share|%|MiB|blocks|number|how many|folder|file", re.I
)


def test_all_of_them_are_found() -> None:
    assert {("demo",), ("simulate",), ("workload", "make"), ("whatif",), ("sweep",)} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_it_does_in_which_units_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"Usage: servetwin {' '.join(command)}" in told
    examples = re.findall(r"Example: servetwin ([^\n]+)", told)
    assert examples, "an example"
    assert all(example.startswith(" ".join(command)) for example in examples), examples
    assert UNITS.search(told), "units"


def test_exit_codes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for code in ("0 done", "1 a check failed", "2 wrong use or bad input", "3 blocked"):
        assert code in told


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_wrong_use(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--no-such-option-at-all", "1"]) == 2
    assert "--help" in capsys.readouterr().err

"""Sweeps that the tests are made of, and how they are started."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from lab.cli import run
from lab.sweep.cells import Cell, CellMaker, design
from lab.sweep.pool import Workers
from lab.sweep.read_spec import read_spec
from lab.sweep.task import Task, Told, compute

LONG = pytest.mark.skipif(os.environ.get("SWEEPS") != "full", reason="minutes: SWEEPS=full, or make sweeps-full")
NOISY = "rtx4090-llama-3.1-8b-vllm"
"""A shipped profile whose steps scatter."""
SMALL = f"""\
profile: {{name: {NOISY}, price_per_hour: 0.5}}
workload: {{requests: 12, lengths: "constant(prompt=200, output=8)"}}
rate: [20, 60]
slo: {{ttft_s: 0.1}}
engines:
  fcfs: {{}}
  las: {{policy: las}}
settings: {{max_num_seqs: [4, 64]}}
seeds: 3
"""
NUM_RUNS = 24
BROKEN = """\
from dataclasses import dataclass

from serving.schedule.policies.fcfs import Fcfs


@dataclass
class Broken(Fcfs):
    def admitted(self, request):
        raise RuntimeError("out of ideas")
"""
"""A policy that raises."""
FINAL = ("sweep.json", "cells.json", "runs.parquet", "ranking.json", "manifest.json")


def write(folder: Path, text: str = SMALL, name: str = "sweep.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def cells_of(folder: Path, text: str = SMALL) -> tuple[Cell, ...]:
    spec = read_spec(write(folder, text))
    return design(spec, CellMaker(spec))


def start(*arguments: str | Path) -> int:
    return run(["sweep", *map(str, arguments)])


@contextmanager
def in_this_process(workers: int) -> Iterator[Workers]:
    """In place of other processes, in an order of its own."""

    def work(tasks: Sequence[Task]) -> Iterator[Told]:
        shuffled = list(tasks)
        Random(workers).shuffle(shuffled)
        return map(compute, shuffled)

    yield Workers(work, workers, close=lambda: None)


def files(folder: Path) -> dict[str, bytes]:
    """Everything that is in a sweep's folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to

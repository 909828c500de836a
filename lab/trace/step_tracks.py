"""An engine's tracks: a lane for each phase of a step, and counters of its queues, its KV pool and its batches."""

from itertools import islice
from typing import Any

import numpy as np

from calibration.model.kinds import kinds_of
from lab.trace.events import Events
from lab.trace.lanes import Lanes
from lab.trace.request_table import RequestTable
from lab.trace.step_rows import StepBatch

_MOST_NAMED = 8
"""Requests with a prompt in the step that its slice names; the others are counted."""
_KV = {
    "stored": "kv_tokens_stored",
    "tail waste": "kv_tail_waste",
    "reserved": "kv_reserved_unused",
    "cached idle": "kv_cached_idle",
    "free": "kv_free",
}


class StepTracks:
    """Told of all steps in the order of the file, it writes those that are shown."""

    def __init__(self, events: Events, process: int, table: RequestTable) -> None:
        self._events = events
        self._process = process
        self._table = table
        self._engines: dict[int, _Replica] = {}
        self.num_written = 0

    def add(self, steps: StepBatch) -> None:
        table = self._table
        shown = (steps.ns["schedule"] <= table.end) & (steps.ns["delivered"] >= table.begin)
        tokens = steps.lists["batch_tokens"].values
        entries, at = steps.lists["batch_request"].values, steps.lists["batch_request"].step
        prompts: dict[int, list[tuple[int, int]]] = {}
        for i in np.flatnonzero(tokens > 1).tolist():
            prompts.setdefault(int(at[i]), []).append((int(entries[i]), int(tokens[i])))
        columns = {name: values.tolist() for name, values in (*steps.numbers.items(), *steps.ns.items())}
        kinds: list[str] = kinds_of(steps.numbers).tolist()
        for place in np.flatnonzero(shown).tolist():
            step = {name: values[place] for name, values in columns.items()}
            replica = self._engines.get(step["replica"])
            if replica is None:
                replica = _Replica(self._events, self._process, step["replica"], table.is_fleet)
                self._engines[step["replica"]] = replica
            replica.add(step, kinds[place], steps.first + place, self._named(prompts.get(place, [])))
            self.num_written += 1

    def finish(self) -> None:
        for replica in self._engines.values():
            replica.finish()

    def _named(self, prompts: list[tuple[int, int]]) -> dict[str, str]:
        if not prompts:
            return {}
        told = [f"{self._table.ids[row]} ({tokens})" for row, tokens in islice(prompts, _MOST_NAMED)]
        more = [f"and {len(prompts) - _MOST_NAMED} more"] if len(prompts) > _MOST_NAMED else []
        return {"prompts (tokens)": ", ".join([*told, *more])}


class _Replica:
    """Tracks of one replica; all its lives are on the same ones."""

    def __init__(self, events: Events, process: int, replica: int, in_fleet: bool) -> None:
        self._events = events
        self._process = process
        self._prefix = f"replica {replica}: " if in_fleet else ""
        self._schedule, self._execute, self._deliver = (
            Lanes(events, process, f"{self._prefix}{name}", 3 * replica + n)
            for n, name in enumerate(("schedule", "execute", "deliver"))
        )
        self._shown: dict[str, dict[str, int]] = {}
        self._host_at = -1

    def add(self, step: dict[str, int], kind: str, row: int, prompts: dict[str, str]) -> None:
        """kind: of STEP_KINDS. row: in steps.parquet; arrows from it to prompts that it computes have this number."""
        number = {"step": step["step_id"], **({"life": step["life"]} if step["life"] else {})}
        if step["launch"] > step["schedule"]:
            self._schedule.add(step["schedule"], step["launch"], "schedule", number)
        args = {**number, **_batch(step), **prompts}
        self._execute.add(step["launch"], step["host"], kind, args, row)
        if step["delivered"] > step["host"]:
            self._deliver.add(step["host"], step["delivered"], "deliver", number)
        decode = step["num_tokens"] - step["prefill_tokens"]
        if self._host_at >= 0 and self._host_at < step["launch"]:
            self._count(self._host_at, "batch tokens", {"prompts": 0, "others": 0})
        self._count(step["schedule"], "requests", {"waiting": step["num_waiting"], "running": step["num_running"]})
        self._count(step["schedule"], "KV tokens", {label: step[name] for label, name in _KV.items()})
        self._count(step["launch"], "batch tokens", {"prompts": step["prefill_tokens"], "others": decode})
        self._host_at = step["host"]

    def finish(self) -> None:
        if self._host_at >= 0:
            self._count(self._host_at, "batch tokens", {"prompts": 0, "others": 0})

    def _count(self, at: int, name: str, values: dict[str, int]) -> None:
        """Only what has changed."""
        if self._shown.get(name) != values:
            self._shown[name] = values
            self._events.counter(self._process, at, f"{self._prefix}{name}", values)


def _batch(step: dict[str, int]) -> dict[str, Any]:
    return {
        "requests": step["num_seqs"],
        "tokens": step["num_tokens"],
        "tokens of prompts": step["prefill_tokens"],
        "tokens sampled": step["num_sampled"],
        "KV tokens read by decodes": step["decode_context"],
        "KV tokens stored": step["kv_tokens_stored"],
        "KV tokens free": step["kv_free"],
        "KV tokens in all": step["kv_total"],
    }

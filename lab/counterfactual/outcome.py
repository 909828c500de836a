"""What became of a simulation, in memory: a row a request and a row a step, as a run record has them."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from serving.cost import features
from serving.schedule.contract import QuietSteps, Snapshot, StepReceipt

PARTS = ("queue", "schedule", "prefill", "return", "decode", "stream")
"""They add up to the time from arrival to last token; the first four to TTFT."""
TTFT_PARTS = PARTS[:4]
TIMES = ("arrival", "first_scheduled", "ttft", *PARTS, "tpot", "e2e")
OTHERS = ("status", "reason", "tenant", "session_id", "prompt_len", "output_len", "num_preemptions", "num_cached")


@dataclass(frozen=True)
class Outcome:
    """requests: by request_id, in the order of the workload: TIMES in seconds, nan where there is none, and OTHERS, as
    requests.parquet has them. steps: time (schedule() called), launch and host in seconds, step_id, num_seqs,
    num_tokens, prefill_tokens, and the columns of Snapshot, as steps.parquet has them.
    """

    requests: pd.DataFrame
    steps: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        return self.requests[self.requests["status"] == "finished"]

    def is_same(self, other: "Outcome") -> bool:
        """Every time of every request, bit for bit."""
        return self.requests.equals(other.requests)


def requests_frame(recorded: pd.DataFrame) -> pd.DataFrame:
    """From the columns of requests.parquet."""
    times = {f"{name}_s": name for name in TIMES}
    return recorded.set_index("request_id")[[*times, *OTHERS]].rename(columns=times)


_STEP = ("step_id", "num_seqs", "num_tokens", "prefill_tokens")
_INSTANTS = ("time", "launch", "host")


class Series:
    """Steps as they are told; frame() at the end."""

    def __init__(self) -> None:
        self._instants = {name: array("q") for name in _INSTANTS}
        self._numbers = {name: array("q") for name in (*_STEP, *Snapshot._fields)}

    def add(self, receipt: StepReceipt) -> None:
        for name, at in zip(_INSTANTS, (receipt.schedule_at, receipt.launch_at, receipt.host_at), strict=True):
            self._instants[name].append(at)
        shape = features(receipt.plan)
        told = (receipt.plan.step_id, shape.num_seqs, shape.num_tokens, shape.prefill_tokens, *receipt.snapshot)
        for values, value in zip(self._numbers.values(), told, strict=True):
            values.append(value)

    def add_quiet(self, steps: QuietSteps) -> None:
        count, num, before = len(steps.host_ats), steps.num_seqs, steps.before
        for name, ats in zip(_INSTANTS, (steps.schedule_ats, steps.launch_ats, steps.host_ats), strict=True):
            self._instants[name].extend(ats)
        place = np.arange(count)
        stored = before.kv_tokens_stored + num * (place + 1)
        tails = np.array(steps.tail_wastes, dtype=np.int64)
        reserved = before.kv_reserved_unused + before.kv_tail_waste - tails - num * (place + 1)
        moving = {"kv_tokens_stored": stored, "kv_tail_waste": tails, "kv_reserved_unused": reserved}
        own = {"step_id": steps.step_id + place}
        constant = {"num_seqs": num, "num_tokens": num, "prefill_tokens": 0, **before._asdict()}
        for name, values in self._numbers.items():
            told: Mapping[str, Any] = moving | own
            if name in told:
                values.frombytes(told[name].astype(np.int64).tobytes())
            else:
                values.extend([constant[name]] * count)

    def frame(self) -> pd.DataFrame:
        instants = {name: np.array(ats, dtype=np.int64) / 1e9 for name, ats in self._instants.items()}
        return pd.DataFrame({**instants, **{n: np.array(v, dtype=np.int64) for n, v in self._numbers.items()}})

"""How fast the processor runs the engine's own Python, apart from what computes: on a GPU the two change apart."""

import time
from operator import itemgetter

import numpy as np

ENTRIES = 200
ARRAYS = 40


def probe_host() -> int:
    """Nanoseconds of bookkeeping like that of a small step, about 0.1 ms; done twice, timed once, as Runner.probe()."""
    _bookkeeping()
    began = time.perf_counter_ns()
    _bookkeeping()
    return time.perf_counter_ns() - began


def _bookkeeping() -> int:
    """Entries by name, in order of another key, and a batch's arrays made of small ones."""
    entries = {f"request {i}": (i, i * 7919 % ENTRIES) for i in range(ENTRIES)}
    chosen = [entries[name][0] for name, _ in sorted(entries.items(), key=itemgetter(1))]
    arrays = [np.arange(n % 7 + 1) for n in chosen[:ARRAYS]]
    return int(np.concatenate(arrays).sum())

"""KIND vllm-bench: JSON files of `vllm bench serve --save-result --save-detailed`; request latencies, no step times.

PATH is a folder of such files, one a rate, and config.json beside them: hardware, model; in "server" num_gpu_blocks,
block_size, max_num_batched_tokens; max_num_seqs; the benchmark's max_concurrency as client_inflight_cap.

    input_lens, output_lens   tokens of each request
    ttfts                     seconds from sending it to its first piece
    itls                      seconds between its pieces, a list a request: the steps, seen from outside
    start_times               when it was sent, seconds of some clock (vLLM 0.10 and later write them)
    errors                    empty where it went well

The rest is as for KIND requests (requests.py).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from calibration.black_box.observed import Observed
from calibration.run_folder import most_in_flight, read_config
from calibration.sources.requests import black_box
from calibration.sources.source import Sourced
from serving.errors import MeasurementError
from workloads.workload import Workload, WorkloadRequest

LISTS = ("input_lens", "output_lens", "ttfts", "itls", "start_times")


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """Errors: MeasurementError."""
    if not path.is_dir():
        raise MeasurementError(f"{path}: no such folder; give one with the benchmark's JSON files and config.json")
    files = sorted(p for p in path.glob("*.json") if p.name != "config.json")
    if not files:
        raise MeasurementError(f"{path}: holds no JSON file of vllm bench serve --save-detailed")
    config = read_config(path / "config.json")
    runs = [_observed(file, most_in_flight(config)) for file in files]
    return black_box(path, name, seed, runs, config)


def _observed(file: Path, cap: int | None) -> Observed:
    told = read_config(file)
    missing = [key for key in LISTS if not isinstance(told.get(key), list)]
    if missing:
        raise MeasurementError(f"{file}: lacks {', '.join(missing)}; run vllm bench serve with --save-detailed")
    columns = [told[key] for key in LISTS]
    if len({len(column) for column in columns}) > 1:
        raise MeasurementError(f"{file}: {', '.join(LISTS)} are of different lengths; the file is damaged")
    if failed := sum(1 for error in told.get("errors") or () if error):
        raise MeasurementError(f"{file}: {failed} requests failed; give a run where all ended well")
    inputs, outputs, ttfts, itls, starts = columns
    began = min(starts)
    order = sorted(range(len(starts)), key=lambda i: starts[i])
    ids = {i: f"{place:06}" for place, i in enumerate(order)}
    requests, rows, pieces = [], [], []
    for i in order:
        sent, gaps = starts[i] - began, np.asarray(itls[i], dtype=float)
        tokens = int(outputs[i])
        last = ttfts[i] + float(gaps.sum())
        requests.append(WorkloadRequest(ids[i], round(sent * 1e9), int(inputs[i]), tokens, max_tokens=tokens))
        rows.append((ttfts[i], (last - ttfts[i]) / (tokens - 1) if tokens > 1 else float("nan"), last))
        at = sent + ttfts[i] + np.concatenate([[0.0], np.cumsum(gaps)])
        pieces.append(pd.DataFrame({"request_id": ids[i], "at_s": at}))
    latencies = pd.DataFrame(rows, index=[r.request_id for r in requests], columns=["ttft_s", "tpot_s", "e2e_s"])
    return Observed(
        file.stem, Workload(file.stem, tuple(requests)), latencies, pd.concat(pieces, ignore_index=True), cap
    )

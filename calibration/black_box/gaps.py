"""Steps seen from outside: every running request gets a token a step, so the gap between two of its tokens is a step.

A step that computed prompts gives their first tokens; where exactly one request got its first token in a gap, the step
computed that prompt beside the others' decodes.
"""

import numpy as np
import pandas as pd

from calibration.black_box.observed import Observed
from serving.cost import StepFeatures

LEAST_MS = 1.0
"""Pieces closer together came of one step, or waited somewhere on their way together."""
JITTER_S = 0.002
"""Pieces of one step reach the client within this time."""
MOST = 4000
"""Steps of a run that are kept, evenly."""
EDGE = 2
"""Pieces of an answer left out at its beginning and end: the first shares its instant with others."""


def steps_seen(run: Observed) -> pd.DataFrame:
    """A row a step that could be told: its features (StepFeatures.names()) and gap_ms, the median over who saw it.

    Errors: none; a run without pieces has no rows.
    """
    if run.pieces is None:
        return pd.DataFrame(columns=[*StepFeatures.names(), "gap_ms"])
    pieces = run.pieces.sort_values(["request_id", "at_s"], kind="stable").copy()
    by_request = pieces.groupby("request_id", sort=False)["at_s"]
    pieces["gap_ms"] = by_request.diff() * 1e3
    pieces["index"] = by_request.cumcount()
    count = by_request.transform("size")
    firsts, lasts = by_request.min(), by_request.max()
    prompt = pd.Series({r.request_id: r.prompt_len for r in run.workload.requests})
    arriving, leaving = np.sort(firsts.to_numpy()), np.sort(lasts.to_numpy())
    prompts = prompt.reindex(firsts.sort_values().index).to_numpy(dtype=float)
    seen = pieces[(pieces["index"] > EDGE) & (pieces["index"] < count - EDGE) & (pieces["gap_ms"] > LEAST_MS)]
    at, began = seen["at_s"].to_numpy(), seen["at_s"].to_numpy() - seen["gap_ms"].to_numpy() / 1e3
    low, high = np.searchsorted(arriving, began + JITTER_S / 2), np.searchsorted(arriving, at + JITTER_S)
    running = np.searchsorted(arriving, at - JITTER_S) - np.searchsorted(leaving, at - JITTER_S)
    table = pd.DataFrame({"gap_ms": seen["gap_ms"], "running": running, "prompts": high - low, "step": np.round(at, 3)})
    table["prompt"] = np.where(high - low == 1, prompts[np.minimum(low, len(prompts) - 1)], 0.0)
    told = table[(table["prompts"] <= 1) & (table["running"] > 0)].groupby("step").median()
    told = told.iloc[:: -(-len(told) // MOST) or 1]
    return _features(told, float(prompt.mean()) + _mean_output(run) / 2)


def _mean_output(run: Observed) -> float:
    return sum(r.output_len for r in run.workload.requests) / len(run.workload.requests)


def _features(told: pd.DataFrame, context: float) -> pd.DataFrame:
    """context: mean KV tokens of a running request."""
    prompt, running = told["prompt"].to_numpy(), told["running"].to_numpy()
    with_prompt = prompt > 0
    columns = {
        "num_seqs": running + with_prompt,
        "num_tokens": running + prompt,
        "num_sampled": running + with_prompt,
        "num_prefill_seqs": with_prompt.astype(float),
        "prefill_tokens": prompt,
        "prefill_context": np.zeros(len(told)),
        "prefill_pairs": prompt * (prompt + 1) / 2,
        "decode_context": running * context,
        "gap_ms": told["gap_ms"].to_numpy(),
    }
    return pd.DataFrame(columns)

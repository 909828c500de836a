"""Steps whose cost is known: runs of decodes of growing batches, prompts, and both, in several loads."""

import numpy as np
import pandas as pd

from calibration.fit import predict
from records.cost_terms import CostTerms
from serving.cost import StepFeatures


def steps(loads: int = 6, each: int = 60, seed: int = 0) -> pd.DataFrame:
    """Columns of StepFeatures, and load; the loads differ in how many sequences they batch."""
    random = np.random.default_rng(seed)
    rows = []
    for load in range(loads):
        most = 2 ** (load + 1)
        for _ in range(each):
            decodes, context = int(random.integers(0, most + 1)), int(random.integers(16, 4000))
            chunk = int(random.choice([0, 0, 16, 200, 700, 2000])) if decodes else int(random.choice([16, 200, 2000]))
            stored = int(random.choice([0, 0, 1000]))
            step = (
                StepFeatures.of_chunk(chunk, stored, decodes, decodes * context)
                if chunk
                else StepFeatures.of_decodes(decodes, decodes * context)
            )
            rows.append({**step._asdict(), "load": load})
    return pd.DataFrame(rows)


def timed(frame: pd.DataFrame, cost: CostTerms, scatter: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """With execute_ms: what cost says, times noise of mean 1."""
    noise = np.random.default_rng(seed).lognormal(-(scatter**2) / 2, scatter, len(frame))
    return frame.assign(execute_ms=predict(cost, frame) * noise)

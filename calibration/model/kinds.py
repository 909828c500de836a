"""Kinds of step: what each computes, prompts, decodes or both."""

import numpy as np
import pandas as pd


def kinds_of(samples: pd.DataFrame) -> np.ndarray:
    """shape [samples], of records.profile.STEP_KINDS"""
    prefills = samples["num_prefill_seqs"].to_numpy()
    sequences = samples["num_seqs"].to_numpy()
    return np.where(prefills == 0, "decode", np.where(prefills == sequences, "prefill", "mixed"))

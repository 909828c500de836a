"""Kinds of step: what each computes, prompts, decodes or both."""

from collections.abc import Mapping

import numpy as np
import pandas as pd


def kinds_of(samples: pd.DataFrame | Mapping[str, np.ndarray]) -> np.ndarray:
    """shape [samples], of records.profile.STEP_KINDS"""
    prefills, sequences = np.asarray(samples["num_prefill_seqs"]), np.asarray(samples["num_seqs"])
    return np.where(prefills == 0, "decode", np.where(prefills == sequences, "prefill", "mixed"))

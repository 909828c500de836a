"""How much longer attention takes because contexts are unlike: the attention table has them equal."""

import numpy as np
import pandas as pd

from calibration.kernel_profile.setting import Setting

SHARE = (0.25, 0.75)
"""Of the decodes read four times what the others read: their spread is half the mean, as in conversations."""
FROM = 8
"""Decodes, from which on a step is uneven."""


def uneven(steps: pd.DataFrame, skew: pd.DataFrame | None, setting: Setting) -> np.ndarray:
    """So many times as long, the mean of what was measured for decode and for mixed steps. Shape [steps].

    1 for few decodes, and where nothing was measured.
    """
    factor = pd.Series(1.0, index=steps.index)
    if skew is not None:
        near = skew[skew["ratio"].between(*SHARE) & (skew[["kv_big", "kp"]].max(axis=1) <= setting.longest)]
        near = near[near["n"].between(FROM, setting.config.max_num_seqs)]
        near = near[near["n"] * near["kv_mean"] <= setting.pool_tokens]
        several = steps["num_seqs"] - steps["num_prefill_seqs"] >= FROM
        for kind, chosen in (("decode", near["pc"] == 0), ("mixed", near["pc"] > 0)):
            if chosen.any():
                ratio = near.loc[chosen, "t_skew_us"] / near.loc[chosen, "t_mean_us"]
                factor[several & (steps["kind"] == kind)] = float(ratio.mean())
    return factor.to_numpy()

"""Which steps the attention table describes: each of its rows is the attention of one step."""

import numpy as np
import pandas as pd

from calibration.kernel_profile.setting import Setting
from serving.errors import MeasurementError


def shapes(attention: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """A row a step that the engine could run: the columns of StepFeatures, kind, and attention_us.

    Errors: MeasurementError where no row is such a step.
    """
    chunk, stored = attention["prefill_chunk"], attention["kv_prefill"]
    decodes, context = attention["n_decode"], attention["kv_decode"]
    prefills = (chunk > 0).astype(int)
    steps = pd.DataFrame(
        {
            "num_seqs": decodes + prefills,
            "num_tokens": chunk + decodes,
            "num_sampled": decodes + prefills,
            "num_prefill_seqs": prefills,
            "prefill_tokens": chunk,
            "prefill_context": stored * prefills,
            "prefill_pairs": chunk * stored + chunk * (chunk + 1) // 2,
            "decode_context": decodes * context,
            "kind": np.where(prefills == 0, "decode", np.where(decodes > 0, "mixed", "prefill")),
            "attention_us": attention["time_us"],
        }
    )
    config = setting.config
    # The greatest chunk of the table is the whole budget: beside decodes it exceeds it, and is what is nearest to it.
    fits = (steps["num_seqs"] <= config.max_num_seqs) & (prefills | decodes > 0)
    fits &= steps["num_tokens"] <= config.max_num_batched_tokens + config.max_num_seqs
    fits &= (steps["decode_context"] <= setting.pool_tokens) & (stored <= setting.longest)
    fits &= (decodes == 0) | context.between(setting.shortest, setting.longest)
    if not fits.any():
        raise MeasurementError("attention.csv: no row fits the engine's seats, budget and KV pool; correct the setting")
    return steps[fits].reset_index(drop=True)

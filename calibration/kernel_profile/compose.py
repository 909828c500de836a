"""Whole steps out of kernel times.

step = layers * (linear and small kernels(tokens) + attention(row) + experts(tokens))
     + embedding, last norm(tokens) + LM head, sampler(sequences)
     + exchanges between GPUs(tokens) + gaps between kernels, launches, and what a step takes beside them
"""

import numpy as np
import pandas as pd

from calibration.kernel_profile.captured import padded
from calibration.kernel_profile.experts import exchanges_ms, experts_us
from calibration.kernel_profile.host import HostTimes
from calibration.kernel_profile.setting import Setting
from calibration.kernel_profile.shapes import shapes
from calibration.kernel_profile.tables import Tables, at
from calibration.kernel_profile.uneven import uneven
from serving.errors import MeasurementError

ONCE_A_STEP = ("embedding", "final_layernorm")
TWICE_A_LAYER = ("layernorm",)
"""Before attention and before the MLP."""
KERNELS_OF_ATTENTION = 2
"""KV is written by a kernel of its own."""
KERNELS_OF_EXPERTS = 6
"""Router, top-k, alignment, two grouped products with the activation between them."""


def compose(tables: Tables, setting: Setting) -> pd.DataFrame:
    """A row a step: as shapes() has them, and device_us (its kernels, one after the other), without attention_us."""
    steps = shapes(tables.attention, setting)
    attention = steps.pop("attention_us").to_numpy() * uneven(steps, tables.skew, setting)
    tokens, seqs = padded(steps["num_tokens"], setting.graph_sizes), steps["num_seqs"].to_numpy(dtype=float)
    calls = calls_per_layer(tables)
    dense = at(tables.dense, tokens)
    layer = dense @ calls.to_numpy() + attention
    if (tables.moe is None) != (setting.model.experts == 0):
        has, says = "no moe.csv" if tables.moe is None else "a moe.csv", setting.model.experts
        raise MeasurementError(f"tp{setting.tensor_parallel}: has {has}, and the setting's model has {says} experts")
    if tables.moe is not None:
        layer = layer + experts_us(tables.moe, tokens, setting)
    once = dense[:, np.isin(tables.dense.columns, ONCE_A_STEP)].sum(axis=1)
    return steps.assign(device_us=setting.model.layers * layer + once + at(tables.per_sequence, seqs).sum(axis=1))


def timed(steps: pd.DataFrame, tables: Tables, setting: Setting, host: HostTimes) -> pd.DataFrame:
    """With execute_ms: what such a step takes in an engine."""
    tokens = padded(steps["num_tokens"], setting.graph_sizes)
    kernels = setting.model.layers * kernels_per_layer(tables)
    each_us = host.kernel_gap_us + np.where(steps["num_prefill_seqs"] > 0, host.launch_us, 0.0)
    device_ms = host.kernels * steps["device_us"] / 1e3
    beside_ms = kernels * each_us / 1e3 + host.step_ms
    return steps.assign(execute_ms=device_ms + exchanges_ms(tokens, setting, host) + beside_ms)


def calls_per_layer(tables: Tables) -> pd.Series:
    """How often a layer calls each kernel of the dense table. Errors: MeasurementError for a table without norms."""
    missing = [name for name in (*ONCE_A_STEP, *TWICE_A_LAYER) if name not in tables.dense.columns]
    if missing:
        raise MeasurementError(f"dense.csv: no layer is called {', '.join(missing)}; profile the whole decoder layer")
    calls = pd.Series(1.0, index=tables.dense.columns)
    calls[list(ONCE_A_STEP)] = 0.0
    calls[list(TWICE_A_LAYER)] = 2.0
    return calls


def kernels_per_layer(tables: Tables) -> int:
    experts = 0 if tables.moe is None else KERNELS_OF_EXPERTS
    return int(calls_per_layer(tables).sum()) + KERNELS_OF_ATTENTION + experts

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where does TTFT go?
#
# A request's time to first token has four parts, and each instant belongs to exactly one of them:
#
# $$\text{TTFT} = T_\text{queue} + T_\text{schedule} + T_\text{prefill} + T_\text{return}$$
#
# * **prefill**: a step that computes its prompt is executing;
# * **schedule**: such a step is being planned and prepared;
# * **return**: the first token is on its way to the client;
# * **queue**: everything else. Waiting for a seat, for KV blocks, or for a step that was already running.
#
# This notebook measures the parts on a real engine on your machine, simulates the same requests, and asks whether the
# simulation puts the time in the right place. It takes about a minute; run it while nothing else runs.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from calibration.calibrate import calibrate
from calibration.compare import compare
from calibration.measuring.traffic import AZURE_CONVERSATION
from lab.calibration import describe
from lab.runs import execute_run, load_runner, simulate_run
from realexec.compute import Compute
from serving.schedule.config import EngineConfig
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. Measure and fit
#
# The engine runs a real transformer of 15 million random weights. Fifteen seconds of measuring are enough to look at;
# `servetwin calibrate` takes sixty by default.

# %%
runner = load_runner("15m", {}, Compute(), seed=0)
config = EngineConfig(num_blocks=runner.num_blocks, block_size=runner.block_size, max_num_seqs=32)
profile = calibrate(runner, config, budget_s=15).profile
print(describe(profile))

# %% [markdown]
# Read the formula as physics: a fixed cost a step, a price per token that falls as matrix products grow, a price per
# sampled token (the LM head), and a price per stored token that attention reads.
#
# ## 2. The same requests in both worlds
#
# Five seconds of arrivals at 70 % of the capacity just measured, under two batching rules: `vllm` mixes prompts and
# decodes in a step, `nano-vllm` lets decodes wait while a prompt is there.

# %%
rate = 0.7 * profile.capacity["requests_per_s"]
workload = Workload("afternoon", AZURE_CONVERSATION.draw(rate, round(5 * rate), seed=7).requests)
settings = {"max_num_seqs": 32}

records = []
for preset in ("vllm", "nano-vllm"):
    records.append(simulate_run(folder / f"sim-{preset}", workload, profile, EngineSpec(preset, settings=settings)))
    records.append(execute_run(folder / f"real-{preset}", workload, runner, EngineSpec(preset, settings=settings)))

# %% [markdown]
# ## 3. Where did the time go?

# %%
parts = ["queue_s", "schedule_s", "prefill_s", "return_s"]
table = pd.DataFrame(
    {(r.manifest.engine.preset, r.manifest.world): r.requests[[*parts, "ttft_s"]].mean() * 1e3 for r in records}
)
table.index = [name.removesuffix("_s") for name in table.index]
table.round(2)

# %%
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
table.T.iloc[::-1][[p.removesuffix("_s") for p in parts]].plot.barh(
    stacked=True, ax=axis, color=["#0072B2", "#E69F00", "#009E73", "#CC79A7"]
)
axis.set_xlabel("mean TTFT [ms]")
axis.set_ylabel("")
# %% [markdown]
# The parts sum to the whole for every single request, in both worlds. The clock inside is integer nanoseconds, so
# this is an equality and not an approximation.

# %%
for record in records:
    nanoseconds = (record.requests[[*parts, "ttft_s"]] * 1e9).round().astype("int64")
    assert (nanoseconds[parts].sum(axis=1) == nanoseconds["ttft_s"]).all()

# %% [markdown]
# ## 4. Is the simulation right, and does it prefer the same policy?

# %%
comparison = compare(records)
print(comparison.verdict())
pd.DataFrame(
    [(c.engine, m, f"{c.figure(m).error:+.1%}") for c in comparison.cells for m in ("ttft", "tpot", "e2e")],
    columns=["policy", "mean of", "simulated against measured"],
)

# %% [markdown]
# ## 5. Which requests wait, and for what?
#
# Long prompts pay in prefill. Queueing hits whoever arrives while a long step runs: it has little to do with one's own
# length.

# %%
real = next(r for r in records if r.manifest.world == "real").requests
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharex=True)
for axis, part in zip(axes, ("prefill_s", "queue_s"), strict=True):
    axis.scatter(real["prompt_len"], real[part] * 1e3, s=8, color="#0072B2")
    axis.set(xlabel="prompt tokens", ylabel=f"{part.removesuffix('_s')} [ms]", ylim=(0, None))

# %% [markdown]
# ## To try
#
# * Raise the load to 0.95 of capacity. Which part grows, and does the simulation see it?
# * Give the engine 64 KV blocks (`settings = {"num_blocks": 64, ...}`). The prompts still compute as fast as before:
#   where does the time go now?
# * Lower `max_num_batched_tokens` to 64. Who gains, who loses?

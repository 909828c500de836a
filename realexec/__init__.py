"""The real world: plans executed by a transformer on hardware. Read runner.py, model.py, attention/base.py first.

    what runs     shapes.py, loaded.py, checkpoint/ make a model; text.py, tokenizer/, chat_template.py its text
    a step        sequences.py turns a plan into arrays; an executor (cpu_executor.py, gpu/) runs model.py over the
                  memory of kv_cache.py; sampling.py and race.py pick tokens; compute.py and build.py choose the device
    operations    ops/ and attention/ say what a model asks of a device; cpu_kernels.py and kernels/ (Triton) do it
    in real time  engine.py and load.py drive a runner; paced.py is one that sleeps what a profile predicts
    for users     llm.py: prompts in, text out; server/: the same over HTTP

`import realexec`, its shapes, compute, loaded, engine and paced work without torch; the others say what to install.
"""

import os

# Turns that torch's idle compute threads spin before they sleep: far fewer than by default, for which a neighbour on
# the same processors pays; ten times fewer than these are too few for small steps (docs/decisions/54). Read when torch
# is loaded: whoever loads it first has torch's default.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

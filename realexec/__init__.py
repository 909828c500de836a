"""The real world: plans executed by a transformer on hardware. Read runner.py, model.py, attention/base.py first.

shapes.py says how big a model is, weights.py draws one, linear.py multiplies. sequences.py keeps what the
runner knows of each request and turns a plan into arrays; kv_cache.py is the memory those arrays point into;
attention/ has a plain twin and a fast backend of one interface; sampling.py picks tokens. engine.py and load.py
drive a runner in real time.

`import realexec` and realexec.shapes work without torch; realexec.runner says what to install.
"""

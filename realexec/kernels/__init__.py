"""Triton kernels of the engine on a GPU, each with the thin wrapper that checks its tensors and launches it.

Read store.py first, then softmax.py with decode.py and prefill.py. configs.py has every tile size; aot.py compiles
all of it without a GPU; proof/ compares it with float64. docs/kernels.md says what each kernel does and uses.
"""

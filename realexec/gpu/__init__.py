"""The real world on a GPU: the same plans, the same arrays, another model and another memory.

layout.py puts a step's arrays into one piece of memory, so that one copy takes them to the device; attention.py and
model.py compute with the kernels of realexec/kernels; graphs.py replays decode steps as CUDA graphs; executor.py
puts them together and says how many KV blocks fit.
"""

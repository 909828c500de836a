"""Every kernel against float64, on any device: a GPU, or the CPU with Triton's interpreter.

    TRITON_INTERPRET=1 python -m realexec.kernels.proof      python -m realexec.kernels.proof --device cuda

checks.py lists the checks; attention.py, rows.py and draws.py are their cases; verdict.py says what counts as equal.
Whatever a kernel must not read is NaN, or leads to NaN, and so is all it must write.
"""

"""What `servetwin gpu-check` measures on a CUDA device: a file a question."""

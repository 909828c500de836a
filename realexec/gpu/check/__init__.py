"""What `servetwin gpu-check` asks of a CUDA device: measures.py has the questions, the other files measure."""

"""servetwin gpu-check: every check in a process of its own, and one folder of what they found."""

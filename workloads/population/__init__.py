"""Populations of clients, written down in a TOML file and drawn into one workload.

spec.py reads the file, compose.py draws it; a file a kind of client (kinds.py lists them); entry.py has what all kinds
say of themselves, client.py what each single client does with it.

Composing a workload client by client, each with its own rate, burstiness and lengths, is how ServeGen (Xiang et al.,
arXiv 2505.09999) models a cloud service: few clients bring most requests, and what they do shapes the whole.
"""

"""Attention over a paged KV cache: base.py is the interface, torch_paged.py the plain twin of every backend."""

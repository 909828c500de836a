"""A batcher gives a step its shape: who is in it, with how many tokens, and who gives way."""

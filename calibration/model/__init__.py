"""The step-time model: candidate forms, how each is fitted, which is chosen, and how sure that is."""

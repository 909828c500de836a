"""Why requests wait: each possible cause is taken out of a run, and what is gone with it is its weight."""

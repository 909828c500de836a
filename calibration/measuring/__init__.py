"""Step times of the real engine: which batches to measure, how they are executed as online, what disturbs them."""

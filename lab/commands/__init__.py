"""One file a verb. Heavy imports are inside the functions, so that --help answers at once."""

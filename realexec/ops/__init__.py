"""What a forward does between its matrix products, for each device: base.py says what, one file a way to do it."""

"""One simulation as plain values: what sweeps, searches for capacity and checks on hardware are made of."""

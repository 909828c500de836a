"""Reservation: which KV a request must find, and which it takes, when it is admitted. One file per rule."""

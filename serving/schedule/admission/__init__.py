"""Admission control: who is turned away on arrival. One file per rule."""

"""Classifiers: raw record in, events out. Pure: no IO, no clock, no logging; what they must remember they return."""

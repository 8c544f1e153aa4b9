"""The vocabulary that agent and controller share: entities, events, envelope, codec.

Everything here is pure: no IO, no clock, no randomness, no logging. The two programs
know nothing of each other but what stands in this package.
"""

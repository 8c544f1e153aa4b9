"""Other ways to name faults, each in its own module with its source, on the same decoded events and the same dependency graph.

They share three things that are none of theirs: the reading of events into observations, the model of what may be the reason of an
observation, and the keeping of incidents over time. Only how they infer differs. Figures published for the originals stem from other
systems and do not transfer.
"""

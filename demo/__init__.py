"""``make demo``: the whole flow on one machine, with real processes and really recorded journals."""

"""How well faults are named: generated clusters, faults with known truth, this engine and others on the same events."""

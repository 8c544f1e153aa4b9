"""Sources: they do IO and yield raw records, and nothing else. What a record means is decided in :mod:`agent.classify`."""

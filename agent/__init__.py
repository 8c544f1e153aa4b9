"""The agent of one node: sources, classifiers, spool, uplink."""

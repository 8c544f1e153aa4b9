"""Streams: everything that happened, for a SIEM or whoever listens, each from its own cursor on."""

"""Notifiers: what tells people and their machines of an incident's changes."""

"""What the controller keeps: one SQLite database, written by one thread, read by whoever asks."""

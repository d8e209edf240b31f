"""The life of a run: its record, its attempts, its state, and waiting for it."""

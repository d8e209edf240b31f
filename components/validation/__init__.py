"""Rules that no single field can state, shared by all clouds."""

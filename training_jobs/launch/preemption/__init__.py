"""Notice that a node is about to be taken away, and ask the job to stop in time."""

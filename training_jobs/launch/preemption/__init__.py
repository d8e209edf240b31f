"""Turns preemption notices and SIGTERM into a stop request that the job's workers can obey in time."""

"""Turns preemption notices and SIGTERM into a stop request, so that the job's workers save and exit in time."""

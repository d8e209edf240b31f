"""The program that each node of a job runs: from the service's environment variables to torchrun's workers and an exit code."""

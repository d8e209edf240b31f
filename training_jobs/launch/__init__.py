"""What every node of a job runs: from the environment of a service to torchrun's workers and back to an exit code."""

"""The program that each node of a job runs. It reads the service's environment variables and starts torchrun's workers."""

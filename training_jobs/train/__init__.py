"""The training program that exercises a pool's accelerators: `python -m gpuyard.training_jobs.train [key=value ...]`."""

"""The training program that exercises a pool's accelerators: `python -m training_jobs.train [key=value ...]`."""

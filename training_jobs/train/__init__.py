"""The training program for GPTs and a small ResNet: `python -m gpuyard.training_jobs.train [key=value ...]`."""

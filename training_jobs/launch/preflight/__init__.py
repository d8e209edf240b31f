"""Check a node's accelerators, fabric and storage before the job starts: `python -m gpuyard.training_jobs.launch.preflight`."""

"""Submit distributed PyTorch jobs to the pools that a stack provisioned, watch them, and run them on the nodes.

Public names: `from gpuyard import JobSpec, Runner`.
"""

if __name__ == "training_jobs":  # a module with two import paths would define each class twice
    raise ImportError("import gpuyard.training_jobs instead of training_jobs: two import paths would make two copies of each class")

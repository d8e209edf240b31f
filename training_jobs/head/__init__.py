"""The head of a Slurm cluster: takes jobs from the queue in the run bucket and gives them to Slurm (`gpuyard head`)."""

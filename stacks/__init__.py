"""The composition root: the Pulumi program, its settings and the command line."""

if __name__ == "stacks":  # a second copy of the modules would define every class twice
    raise ImportError("import gpuyard.stacks instead of stacks: two import paths would make two copies of each class")

"""The stock Pulumi program, the settings of a stack, and the command line `gpuyard`."""

if __name__ == "stacks":  # a second copy of the modules would define every class twice
    raise ImportError("import gpuyard.stacks instead of stacks: two import paths would make two copies of each class")

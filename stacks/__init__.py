"""The composition root: the Pulumi program, its settings and the command line."""

if __name__ == "stacks":  # two copies of a module would be two classes of one name
    raise ImportError("import gpuyard.stacks: a checkout's folders are links of the package gpuyard")

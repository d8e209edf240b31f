"""The Pulumi program that `pulumi up` runs: settings -> components -> exports."""

from gpuyard.stacks.program import run

run()

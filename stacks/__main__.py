"""The Pulumi program that `pulumi up` runs: settings -> components -> exports. The command `gpuyard` is in cli/."""

from gpuyard.stacks.program import run

run()

"""What `pulumi` runs: settings -> components -> exports."""

from gpuyard.stacks.program import run

run()

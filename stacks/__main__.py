"""What `pulumi` runs: settings -> components -> exports."""

from stacks.program import run

run()

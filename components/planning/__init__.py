"""The offline plan: what a Pulumi program would make and cost, told without an engine, an account or a network."""

"""The offline plan: what a Pulumi program creates and costs, without an engine, an account or a network."""

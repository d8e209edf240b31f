"""Rules that concern several fields of a yard, or that several clouds share. Pure functions, without Pulumi."""

"""Roles: who may take them, what is made, in an update and in a preview where nothing is known."""

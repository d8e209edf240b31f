"""Pins images: writes those of machines and jobs into a stack file or a job file by id or digest."""

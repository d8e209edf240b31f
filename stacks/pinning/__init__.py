"""Pins images: writes machine images and job images into a stack file or a job file, by id or digest."""

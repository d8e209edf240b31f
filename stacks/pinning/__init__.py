"""Write the images of machines and jobs into a stack file by id or digest."""

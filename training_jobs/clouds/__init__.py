"""The clouds' clients, credentials and error tables, shared by backends and stores."""

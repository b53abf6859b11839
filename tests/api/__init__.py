"""The HTTP API, through Django's handlers, over a real database."""

"""The HTTP API, `/api/v1/`: a thin interface over the same engine as the console and the command line."""

"""Tests. They use real servers, started by `tests.servers`."""

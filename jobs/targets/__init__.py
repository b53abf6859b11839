"""Generic work that anyone can schedule."""

from jobs.targets import canary

__all__ = ["canary"]

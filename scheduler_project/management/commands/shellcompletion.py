"""`manage.py shellcompletion`: django-typer's own, with the shells that it knows."""

from django_typer.management.commands.shellcompletion import Command
from django_typer.management.extensions import shellcompletion  # noqa: F401  (registers the shells)

__all__ = ["Command"]

"""`manage.py seed_demo`: the demo's data and schedules."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from scheduler_project.demo import seed


class Command(BaseCommand):
    """Run it as often as you like: what is there is left alone."""

    help = "Make the demo's data and schedules; what is there is left alone."

    def handle(self, *args: Any, **options: Any) -> None:
        made = {name: count for name, count in asdict(seed(timezone.now())).items() if count}
        said = ", ".join(f"{count} {name}" for name, count in made.items()) or "everything was there already"
        self.stdout.write(f"demo: {said}")

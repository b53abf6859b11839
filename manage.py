#!/usr/bin/env python
"""The project's command line: `manage.py up`, `manage.py schedules list`, ..."""

import os
import sys


def main() -> None:
    """Run the command named in argv."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The command line of CampusG. `python3 manage.py up` is all it takes to start."""

from __future__ import annotations

import os
import sys

from campusg.launch import bootstrap


def main() -> None:
    bootstrap.ensure(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    if sys.argv[1:2] == ["up"]:
        os.environ.setdefault("CAMPUSG_SINGLE_HOST", "1")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

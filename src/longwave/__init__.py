"""Longwave: the background half of a bot."""

import os

__version__ = "0.1.0"


def setup() -> None:
    """Load settings and models, once. Call it before any other part of Longwave is imported in a process of yours."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longwave.settings")
    import django  # not at the top: `longwave --help` and the fakes must start without Django

    django.setup()

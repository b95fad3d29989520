"""Longwave: the background half of a bot."""

import os

__version__ = "0.1.0"


def setup() -> None:
    """Read LONGWAVE_* and load settings and models; call it before other parts of Longwave. A second call does nothing.

    What Longwave logs then goes to the loggers `longwave.…` of Python's logging, unless structlog is configured. Raises
    InvalidInput naming every setting that is wrong. A Django project of your own is kept: with
    DJANGO_SETTINGS_MODULE set, `longwave.jobs` and the other rooms must be among its INSTALLED_APPS.
    """
    # Not at the top: `longwave --help` and the fakes must start without Django.
    from django.apps import apps

    from longwave import config

    if not apps.ready:
        config.current()  # here, so that what is wrong with a setting is told without Django's frames in between
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longwave.settings")
        import django
        import structlog

        django.setup()
        if not structlog.is_configured():
            from longwave import logs

            logs.hand_on()
    if not apps.is_installed("longwave.jobs"):
        _refuse_settings()


def _refuse_settings() -> None:
    from longwave.core.errors import InvalidInput, Problem
    from longwave.settings import INSTALLED_APPS

    remedy = f"its INSTALLED_APPS lack {', '.join(INSTALLED_APPS)}; add them, or unset the variable"
    raise InvalidInput(Problem("DJANGO_SETTINGS_MODULE", os.environ.get("DJANGO_SETTINGS_MODULE"), remedy))

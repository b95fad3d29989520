"""The web application."""

import structlog

import longwave
from longwave import logs

if not structlog.is_configured():
    logs.adopt()
longwave.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - Django's settings are chosen above

application = get_asgi_application()

"""Django's settings, derived from Config. Nothing is decided here that a person could want to change."""

from longwave import config as _config
from longwave import database as _database

_current = _config.current()

SECRET_KEY = _current.secret_key
DEBUG = False
ALLOWED_HOSTS = ["*"]  # the web process answers health questions only; it has no page to protect yet
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
ROOT_URLCONF = "longwave.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": _database.settings(_current.database_url)}
INSTALLED_APPS = [
    "longwave.jobs",
    "longwave.pacing",
    "longwave.senders",
    "longwave.contacts",
    "longwave.campaigns",
    "longwave.ops",
]
MIDDLEWARE: list[str] = []
LOGGING_CONFIG = None  # structlog is set up by longwave.logs

"""Columns that mean the same on every database."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class ExactCharField(_CharField):
    """Text compared and kept unique byte for byte.

    MySQL's and MariaDB's default collation takes "a", "A" and "á" for one: two people would be one contact.
    SQLite and PostgreSQL compare exactly unasked.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        """As any text column, with the binary collation where the default one is not."""
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class ReadableJSON(json.JSONEncoder):
    """JSON with letters as they are. SQLite before 3.45 does not find a key that was written with escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"ensure_ascii": False})

"""A text column that means the same on every database."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class ExactCharField(_CharField):
    """Text compared and kept unique byte for byte.

    MySQL's and MariaDB's default collation takes "a", "A" and "á" for one: two people's addresses would be one contact.
    SQLite and PostgreSQL compare exactly unasked.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        """As any text column, with the binary collation where the default one is not."""
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters

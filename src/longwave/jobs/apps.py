from django.apps import AppConfig
from django.db.models.signals import post_migrate


class JobsConfig(AppConfig):
    name = "longwave.jobs"
    label = "longwave_jobs"

    def ready(self) -> None:
        """A migration may make SQLite forget what it was told of a table."""
        post_migrate.connect(_inform_planner, sender=self)


def _inform_planner(**_: object) -> None:
    from longwave.jobs import ledger  # its models may be imported now

    ledger.inform_planner()

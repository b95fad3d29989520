from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "longwave.campaigns"
    label = "longwave_campaigns"

    def ready(self) -> None:
        from longwave.campaigns import tasks  # noqa: F401 - declares the jobs that verbs submit by name

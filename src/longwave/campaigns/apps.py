from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "longwave.campaigns"
    label = "longwave_campaigns"

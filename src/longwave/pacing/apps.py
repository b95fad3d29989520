from django.apps import AppConfig


class PacingConfig(AppConfig):
    name = "longwave.pacing"
    label = "longwave_pacing"

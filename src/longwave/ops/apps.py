from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "longwave.ops"
    label = "longwave_ops"

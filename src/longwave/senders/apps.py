from django.apps import AppConfig


class SendersConfig(AppConfig):
    name = "longwave.senders"
    label = "longwave_senders"

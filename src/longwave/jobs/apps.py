from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "longwave.jobs"
    label = "longwave_jobs"

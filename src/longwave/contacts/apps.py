from django.apps import AppConfig


class ContactsConfig(AppConfig):
    name = "longwave.contacts"
    label = "longwave_contacts"

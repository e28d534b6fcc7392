from django.apps import AppConfig


class KeepingConfig(AppConfig):
    name = "serving_site.keeping"
    label = "keeping"
    verbose_name = "Keeping the installation"

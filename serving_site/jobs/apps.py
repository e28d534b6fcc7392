from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "serving_site.jobs"
    label = "jobs"
    verbose_name = "Workers and queues"
    default_auto_field = "django.db.models.BigAutoField"

from django.apps import AppConfig


class PredictionsConfig(AppConfig):
    name = "predictions"
    verbose_name = "Predictions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from mlmodels import gate
        from predictions import evidence, tasks  # noqa: F401 - tasks registers its kind of job

        gate.stored_inputs.append(evidence.stored_inputs)

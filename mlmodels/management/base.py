"""What the commands share: JSON on request, waiting for the check of a version."""

import json
from typing import Any

from django.core.management.base import CommandError

from mlmodels.models import MLModel, ModelVersion, State, VersionCheck
from serving_site.jobs import wait
from serving_site.jobs.management.base import Command as CommandWithExamples

CHECK_S = 180.0


class Command(CommandWithExamples):
    """A command that prints for people or, with --json, one object."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As Django's; Ctrl-C ends with one sentence and status 130."""
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was finished is kept; run it again.", returncode=130) from None

    def say(self, text: str) -> None:
        """For a person, on standard error, so that standard output stays for programs."""
        self.stderr.write(text, style_func=str)

    def answer(self, version: ModelVersion, as_json: bool, sentence: str, **more: Any) -> None:
        if as_json:
            known = {"slug": version.model.slug, "version": version.number, "state": version.state}
            self.stdout.write(json.dumps({**known, "metrics": version.metrics, **more}))
        else:
            self.stdout.write(sentence)


def model_or_error(slug: str) -> MLModel:
    model = MLModel.objects.filter(slug=slug).select_related("live_release__version").first()
    if model is None:
        known = ", ".join(MLModel.objects.values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no model {slug!r}. Known: {known}.")
    return model


def await_check(version: ModelVersion, timeout_s: float = CHECK_S) -> ModelVersion:
    """Wait for a worker's verdict; returns the version as it is then. Raises CommandError when none came."""
    job = VersionCheck.objects.filter(version=version).order_by("-id").first()
    if version.state == State.CHECKING and job and not wait.wait_for(VersionCheck, job.pk, timeout_s):
        raise CommandError(
            f"{version} is stored, but no worker has checked it within {timeout_s:.0f} s. Start a worker "
            "(manage.py runworker, or the site itself where it is embedded); the check runs then."
        )
    version.refresh_from_db()
    return version

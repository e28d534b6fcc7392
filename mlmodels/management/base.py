"""What the commands share: JSON on request, SLUG@VERSION, waiting for what a worker finds."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from mlmodels import evaluations, gate, releases
from mlmodels.models import Evaluation, MLModel, ModelVersion, State, VersionCheck
from serving_site.jobs import wait
from serving_site.jobs.management.base import Command as CommandWithExamples
from serving_site.jobs.models import Status

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


def version_or_error(name: str) -> ModelVersion:
    """The version that SLUG@VERSION names; SLUG alone names the live one, or the newest healthy one where none is."""
    slug, at, number = name.partition("@")
    model = model_or_error(slug)
    versions = model.versions.select_related("model", "snapshot").order_by("-number")
    if not at:
        version = model.live_version or versions.filter(state=State.HEALTHY).first()
        if version is None:
            raise CommandError(f"{slug} has no healthy version yet.")
        return versions.get(pk=version.pk)
    chosen = (
        versions.filter(number=number).first() if number.isascii() and number.isdigit() and len(number) < 10 else None
    )
    if chosen is None:
        known = ", ".join(str(one) for one in model.versions.values_list("number", flat=True)) or "none"
        raise CommandError(f"{slug} has no version {number or '(nothing after the @)'}. Known: {known}.")
    return chosen


def report_or_error(evaluation: Evaluation, timeout_s: float) -> Evaluation:
    """The evaluation once it has succeeded. Raises CommandError when it fails, or when no worker is there."""
    try:
        done = evaluations.await_report(evaluation, timeout_s)
    except evaluations.NoWorker as error:
        raise CommandError(str(error)) from None
    if done.status != Status.SUCCEEDED:
        raise CommandError(done.error or f"The {done.get_purpose_display()} was {done.status}.")
    return done


@contextlib.contextmanager
def refusals_shown(command: Command) -> Iterator[None]:
    """What a release is refused for becomes a CommandError; the gate's report is printed for a person before it.

    releases.NotBetter passes through: it is an outcome that was asked for.
    """
    try:
        yield
    except releases.NotBetter:
        raise
    except releases.GateRefused as refused:
        command.say(gate.as_text(refused.evaluation.report))
        raise CommandError(
            f"{refused.evaluation.version} does not go live. --override REASON overrides the gate."
        ) from None
    except (releases.NotReleasable, releases.LostRace) as error:
        raise CommandError(str(error)) from None


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

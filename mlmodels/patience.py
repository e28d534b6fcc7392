"""Waiting for what workers find out about a pushed version, with a line every few seconds for whoever waits."""

import time
from collections.abc import Callable

from mlmodels import gate
from mlmodels.evaluations import NoWorker
from mlmodels.models import Evaluation, ModelVersion, State, VersionCheck
from mlmodels.pushes import RefusedPush
from serving_site.jobs import wait
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Job
from serving_site.jobs.sweep import live_slots

Say = Callable[[str], None]
LOOK_AGAIN_S = 5.0
NO_WORKER_S = 30.0
"""So long a push waits for any worker at all: one may be starting again."""


class Patience:
    """How long to wait for a worker that runs jobs of `model`, and a line every few seconds, which also notices that
    nobody listens any more.
    """

    def __init__(self, model: type[Job], until: float, say: Say) -> None:
        self.kind, self.until, self.say = KINDS[model], until, say
        self.started = self.seen = time.monotonic()

    def step_s(self) -> float:
        return min(LOOK_AGAIN_S, max(self.until - time.monotonic(), 0.05))

    def go_on(self) -> None:
        """Raises RefusedPush where there is no hope left."""
        now = time.monotonic()
        self.seen = now if live_slots(self.kind) else self.seen
        waited = f"{now - self.started:.0f} s"
        if now >= self.until or now - self.seen >= NO_WORKER_S:
            raise RefusedPush(
                f"No worker has answered within {waited}. Is one running (manage.py runworker, or the site itself "
                "where it is embedded)? Push again then."
            )
        self.say(f"… {waited}")


def await_check(version: ModelVersion, patience: Patience) -> None:
    """Raises RefusedPush where the version is refused, or nobody has checked it in time."""
    job = VersionCheck.objects.filter(version=version).order_by("-id").first()
    while version.state == State.CHECKING and job and not wait.wait_for(VersionCheck, job.pk, patience.step_s()):
        patience.go_on()
    version.refresh_from_db()
    if version.state != State.HEALTHY:
        raise RefusedPush(f"{version} is {version.state}: {version.state_reason}")


def await_gate(version: ModelVersion, live: ModelVersion | None, patience: Patience) -> Evaluation:
    """The gate's, made once: to ask again is to wait on. Raises RefusedPush."""
    while True:
        try:
            return gate.verdict(version, live, by=None, wait_s=patience.step_s(), is_refusal_known=True)
        except NoWorker:
            patience.go_on()

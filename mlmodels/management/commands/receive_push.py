"""`manage.py receive_push HOOK`: what the hooks of the repository run; `deploy/git-hooks/install` makes them."""

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from mlmodels import deliveries, pushes
from mlmodels.gitobjects import QUARANTINE, Repository
from mlmodels.management.base import Command as Base
from mlmodels.models import Delivery
from mlmodels.pushes import BRANCH, RefusedPush, Update
from serving_site.jobs import worker

log = structlog.get_logger(__name__)
LOCK, LOG = "push.lock", "push.log"
LOG_BYTES = 1024 * 1024
LAND_S = 60.0
"""So long post-receive tries to carry out the model's setting; the workers go on after it."""


class Command(Base):
    help = (
        "Judge what somebody pushes (pre-receive), and carry out what was accepted (post-receive). Git calls it, with "
        "lines of OLD NEW REF on standard input; the output is what the person who pushes reads. `settings` prints "
        "what deploy/git-hooks/install needs to know.\n\n"
        "Examples:\n  manage.py receive_push pre-receive --repository /srv/site/data/models.git\n"
        "  manage.py receive_push settings"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("hook", choices=["pre-receive", "post-receive", "settings"])
        parser.add_argument("--repository", type=Path, default=settings.MODEL_REPOSITORY, help="(%(default)s)")
        parser.add_argument("--known-models-only", action="store_true", help="a push may not make a new model")

    def handle(self, *args: Any, hook: str, repository: Path, known_models_only: bool, **options: Any) -> None:
        if hook == "settings":
            known = {"repository": str(settings.MODEL_REPOSITORY), "max_artifact_bytes": settings.MAX_ARTIFACT_BYTES}
            self.stdout.write(json.dumps(known))
            return
        git = Repository(repository, {name: os.environ.pop(name) for name in QUARANTINE if name in os.environ})
        updates = pushes.read_updates(sys.stdin.buffer.read())
        _log_to(repository / LOG)
        worker.be_patient()
        with _stopped_by_signals():
            if hook == "pre-receive":
                sys.exit(self._judge(git, updates, may_create_model=not known_models_only))
            self._land(updates)

    def _say(self, text: str) -> None:
        """One line, at once, without anything that a terminal would obey."""
        self.stdout.write("".join(one if one.isprintable() else "?" for one in text[:1000]))
        self.stdout.flush()

    def _judge(self, git: Repository, updates: Sequence[Update], *, may_create_model: bool) -> int:
        """The exit status of pre-receive: 0 lets the push in."""
        try:
            with _only_one(git.path / LOCK):
                self._receive(git, updates, may_create_model=may_create_model)
        except RefusedPush as error:
            for line in str(error).splitlines():
                self._say(line)
            self._say("Refused: nothing of this push is kept.")
        except (KeyboardInterrupt, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody listens any more
        except (OperationalError, InterfaceError, OSError) as error:
            log.exception("push_failed")
            what = "database" if isinstance(error, DatabaseError) else "storage"
            self._say(f"The site's {what} does not answer now, so nobody can judge this push. Push again in a moment.")
        except Exception:
            log.exception("push_failed")
            self._say(f"Something failed on the server at {_now()}; {LOG} in the repository says what.")
        else:
            return 0
        return 1

    def _receive(self, git: Repository, updates: Sequence[Update], *, may_create_model: bool) -> None:
        name = updates[0].new if updates else ""
        try:
            update = pushes.judge_updates(updates, git)
            commit = pushes.read_commit(git, update.new)
            artifact = pushes.take(git, commit)
        except RefusedPush as error:
            deliveries.record_refusal(name, str(error), pushed_by())
            raise
        delivery = deliveries.receive(
            update.new, artifact, pushed_by=pushed_by(), subject=commit.subject, say=self._say,
            may_create_model=may_create_model,
        )  # fmt: skip
        self._say(f"Accepted: {delivery.version}.")

    def _land(self, updates: Sequence[Update]) -> None:
        """The client does not see how this ends, so every end is a line."""
        for update in (one for one in updates if one.ref == BRANCH and one.new.strip("0")):
            try:
                self._say(_outcome(update.new))
            except Delivery.DoesNotExist:
                self._say("This commit was never judged here, so nothing goes live. Are both hooks in place?")
            except Exception as error:
                log.exception("landing_failed")
                self._say(f"Accepted, but not live yet ({type(error).__name__}): the site's workers try again.")


def _outcome(commit: str) -> str:
    until = time.monotonic() + LAND_S
    while True:
        delivery = deliveries.land(commit)
        if delivery.done_at:
            return delivery.outcome
        if time.monotonic() > until:
            return f"{delivery.version} is accepted, but not live yet: the site's workers try again every few seconds."
        time.sleep(0.5)


def pushed_by() -> str:
    """Who pushes: what the way in says (SSH key, HTTP login), and the user that the hook runs as."""
    named = os.environ.get("SERVING_SITE_PUSHER") or os.environ.get("REMOTE_USER")
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return deliveries.plain(f"{named} (as {user})" if named else user)


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the repository's lock, which goes with this process. Raises RefusedPush where another push holds it."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)  # it may have taken the lock just now, and not said yet who it is
            file.seek(0)
            raise RefusedPush(
                f"Another push is being judged {deliveries.plain(file.read()) or 'now'}; try again when it is done."
            ) from None
        file.truncate(0)
        file.write(f"since {_now()} (by {pushed_by()})")
        file.flush()
        yield


def _now() -> str:
    return f"{timezone.now():%H:%M:%S} UTC"


def _log_to(path: Path) -> None:
    """To a file beside the repository's own, because standard error is read by whoever pushes."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, delay=True)
    root = logging.getLogger()
    for old in list(root.handlers):
        handler.setFormatter(old.formatter)
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """A hook that is told to stop withdraws what it has begun."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

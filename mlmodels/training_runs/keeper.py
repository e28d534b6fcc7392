"""The steps of one training run under its lease: train in a child, register, check, measure, decide."""

import time
from pathlib import Path
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction

from mlmodels import artifacts, evaluations, registry
from mlmodels.datasets import BadData
from mlmodels.executor.outcomes import safe_text
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import ModelVersion, Purpose, State, TrainingRun, VersionCheck
from mlmodels.training.commit import code_commit
from mlmodels.training_runs import decision, folders
from mlmodels.training_runs.child import Child
from mlmodels.training_runs.journal import Journal, Say, mine
from serving_site.jobs import lease, wait
from serving_site.jobs.batch import Batch
from serving_site.jobs.claim import LEASE_S
from serving_site.jobs.drain import patiently, stopping
from serving_site.jobs.finish import Outcome
from serving_site.jobs.models import Job, Status

log = structlog.get_logger(__name__)
LOOK_S = 0.5
UNHEARD_S = 180.0
"""How long the run waits for a worker to take up its check or its evaluation."""
ASKED = (Status.QUEUED, Status.RUNNING, Status.SUCCEEDED)
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "MemoryError", "out of memory")


class Stopped(Exception):
    """Nobody wants this run any more, or this process ends."""


class Died(Exception):
    """The child was ended by a signal; the message says by which."""


class Failed(Exception):
    """The run ends here; the message is one sentence."""

    def __init__(self, reason_code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason_code = reason_code


class Keeper:
    """Keeps one claimed run on the thread that calls `run`. With `retries` a child that died alone is tried again."""

    def __init__(self, batch: Batch, *, retries: bool, say: Say = lambda _: None) -> None:
        self.batch, self.retries = batch, retries
        self.job: TrainingRun = batch.jobs[0]
        self.held = next(one for one in lease.held() if one.batch is batch)
        self.journal = Journal(batch, say)
        self.complaint = ""

    def run(self) -> None:
        """Settle the row: finished, or given back because the worker stops. A canceled one is settled already."""
        try:
            outcome = self._steps()
        except Stopped:
            if not self.held.is_unwanted:
                patiently(self.batch.give_back, LEASE_S)
        except Died as death:
            self._retry_or_fail(str(death))
        except Failed as failure:
            self._finish(Status.FAILED, failure.reason_code, error=str(failure))
        except (OperationalError, InterfaceError):
            raise  # the database is away for longer than the lease: the sweeper gives the row to somebody
        except Exception:
            log.exception("training_failed", run=str(self.job.pk))
            self._finish(Status.FAILED, "defect", error="Something went wrong on our side; the worker's log says what.")
        else:
            self._finish(Status.SUCCEEDED, outcome=outcome)

    def _steps(self) -> str:
        version = self.job.version or self._train()
        self._check(version)
        self._measure(version)
        self.journal.reach("release")
        return decision.decide(self.job, version)

    def _train(self) -> ModelVersion:
        self.journal.write(at_once=True, code_commit=code_commit())
        self.journal.reach("start")
        try:
            with folders.private(self.job.snapshot) as folder:
                self._keep_child(folder)
                self.journal.reach("register")
                return patiently(lambda: self._register(folder / folders.OUT), LEASE_S)
        except RefusedArtifact as error:
            raise Failed("refused", str(error)) from None
        except BadData as error:
            raise Failed("data_corrupt", str(error)) from None
        except FileNotFoundError:
            raise Failed("data_missing", "The stored data is gone. Give it again with --data.") from None
        except OSError as error:
            raise Failed("storage", f"The files could not be read or stored: {error}.") from None

    def _keep_child(self, folder: Path) -> None:
        child = Child(self._arguments(), folder)
        self.held.on_unwanted = child.kill
        try:
            for message in child.messages():
                self._look()
                self._hear(message or {})
                self.journal.log = child.log
                self.journal.write()
        except BaseException:
            child.kill()
            raise
        finally:
            status = child.end()
            self.journal.log = child.log
        self._look()
        self.journal.write(at_once=True)
        self._judge_end(status)

    def _hear(self, message: dict[str, Any]) -> None:
        if "stage" in message:
            self.journal.hear(message)
        if "error" in message:
            self.complaint = safe_text(message["error"], 500)

    def _arguments(self) -> list[str]:
        files = ["--data", folders.DATA, "--schema", folders.SCHEMA, "--out", folders.OUT]
        epochs = ["--epochs", str(self.job.epochs)] if self.job.epochs else []
        return [*files, "--seed", str(self.job.seed), *epochs]

    def _judge_end(self, status: int) -> None:
        if status < 0:
            raise Died(f"was killed by signal {-status}{', probably because memory ran out' if status == -9 else ''}")
        if status and any(words in self.complaint for words in OUT_OF_MEMORY):
            raise Failed("out_of_memory", "The training needed more memory than this machine has left.")
        if status:
            why = self.complaint.strip().rstrip(".") or f"it ended with status {status} and gave no reason"
            raise Failed("training_failed", f"The training stopped with an error: {why}.")

    def _register(self, out: Path) -> ModelVersion:
        """The version and the run's mark of it, together: who takes this run up again goes on behind this point."""
        artifact = artifacts.take_folder(out)
        with transaction.atomic():
            row = mine(self.batch).select_for_update().first()
            if row is None:
                registry.discard_files(artifact.manifest_sha256, artifact.weights_sha256)
                self.held.drop()
                raise Stopped
            by = decision.asker(self.job)
            version = registry.register(artifact, by=by, model=self.job.model, snapshot=self.job.snapshot)
            parameters = artifact.manifest.get("parameters", {})
            mine(self.batch).update(version=version, weights_sha256=version.weights_sha256, parameters=parameters)
        return version

    def _check(self, version: ModelVersion) -> None:
        self.journal.reach("check")
        job = VersionCheck.objects.filter(version=version).order_by("-id").first()
        if job is not None:
            self._await(job, f"{version} is registered, but no worker has checked it")
        version.refresh_from_db()
        if version.state != State.HEALTHY:
            raise Failed("refused", f"{version} is {version.state}: {version.state_reason}")

    def _measure(self, version: ModelVersion) -> None:
        """Have a worker measure it on the rows that the snapshot holds out, unless that was asked for already."""
        self.journal.reach("evaluate")
        asked = version.evaluations.filter(purpose=Purpose.EVALUATE, snapshot=self.job.snapshot, status__in=ASKED)
        job = asked.order_by("-id").first() or evaluations.submit(
            version, purpose=Purpose.EVALUATE, by=decision.asker(self.job), snapshot=self.job.snapshot
        )
        self._await(job, f"{version} is a candidate, but no worker has measured it")
        if job.status != Status.SUCCEEDED:
            why = job.error or f"the evaluation was {job.status}."
            raise Failed("not_measured", f"{version} is a candidate that could not be measured: {why}")
        version.refresh_from_db(fields=["measured"])

    def _await(self, job: Job, sentence: str) -> None:
        """Wait until `job` is over. Raises Failed when no worker has begun with it for three minutes."""
        until = time.monotonic() + UNHEARD_S
        while not wait.wait_for(type(job), job.pk, LOOK_S):
            self._look()
            job.refresh_from_db()
            if job.status != Status.QUEUED:
                until = time.monotonic() + UNHEARD_S
            elif time.monotonic() > until:
                raise Failed(
                    "no_worker", f"{sentence} within {UNHEARD_S:.0f} s. Start a worker; it goes on from there."
                )
        job.refresh_from_db()

    def _look(self) -> None:
        """Go on while somebody wants the result and this process stays. Raises Stopped, or Failed when it is late."""
        if self.held.is_unwanted or stopping.is_set():
            raise Stopped
        if time.monotonic() > self.held.until:
            raise Failed("timeout", f"The run took longer than {self.batch.kind.deadline_s / 3600:.0f} hours.")

    def _retry_or_fail(self, death: str) -> None:
        if self.retries:
            patiently(
                lambda: self.batch.crashed(error=f"The training process {death}, the third time in a row."), LEASE_S
            )
        else:
            self._finish(Status.FAILED, "worker_crashed", error=f"The training process {death}.")

    def _finish(self, status: Status, reason_code: str = "", **fields: Any) -> None:
        patiently(lambda: self.batch.finish([Outcome(self.job.pk, status, reason_code, fields)]), LEASE_S)

"""A worker on one thread of the test's own process: until the test ends it runs what is queued, and warms."""

import datetime
import threading
from types import TracebackType

from django.db import connection

from mlmodels import runtime, tasks
from mlmodels.models import TrainingRun
from serving_site.jobs import drain, sql
from serving_site.jobs.claim import claim
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Worker


class Working:
    """Between entry and exit it is alive and works; what it runs in is the process's runtime.

    It takes no trainings: they would keep its one thread while they wait for their check.
    """

    def __enter__(self) -> "Working":
        now = sql.now()
        queues = [kind.queue for kind in KINDS.values()]
        about = {"host": "here", "pid": 1, "slots": 1, "queues": queues, "started_at": now}
        self.row = Worker.objects.create(seen_at=now + datetime.timedelta(hours=1), **about)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._work, name="working", daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join(30)

    def _work(self) -> None:
        try:
            while not self.ended.wait(0.02):
                if tasks.warm():
                    Worker.objects.filter(pk=self.row.pk).update(info=runtime.facts())
                for kind in [kind for model, kind in KINDS.items() if model is not TrainingRun]:
                    if batch := claim(kind):
                        drain.run(batch)
        finally:
            connection.close()

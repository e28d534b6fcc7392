"""Progress of a training: in a terminal one line that is rewritten, elsewhere a line now and then."""

import shutil
import time
from typing import Any

from django.core.management.base import OutputWrapper

PLAIN_EVERY_S = 5.0
CLEAR = "\r\033[K"


class ProgressLine:
    """Call it with each message of a run; `close` takes the line that is rewritten away.

    One that has a `title`, which every line begins with, is ended by `end` with what came of it.
    """

    def __init__(self, stream: OutputWrapper, title: str = "") -> None:
        self.stream, self.title = stream, title
        self.is_live = stream.isatty()
        self.started_at = time.monotonic()
        self.fit_at: float | None = None
        self.stage = ""
        self.plain_at = float("-inf")
        self.waiting = ""

    def __call__(self, progress: dict[str, Any]) -> None:
        stage = progress.get("stage", "")
        if stage == "fit" and self.fit_at is None:
            self.fit_at = time.monotonic()
        if self.stage == "fit" != stage and self.waiting and not self.title:
            self._write_plain(self.waiting)
        self.stage = stage
        text = self.title + self._text(progress)
        if self.is_live:
            self._write(CLEAR + text[: shutil.get_terminal_size().columns - 1])
        elif time.monotonic() - self.plain_at >= PLAIN_EVERY_S:
            self._write_plain(text)
        else:
            self.waiting = text

    def close(self) -> None:
        if self.is_live and self.stage:
            self._write(CLEAR)
        self.stage = ""

    def end(self, text: str) -> None:
        """The line that stays."""
        self.close()
        self._write(f"{self.title}{text}\n")

    def _write_plain(self, text: str) -> None:
        self.plain_at, self.waiting = time.monotonic(), ""
        self._write(text + "\n")

    def _text(self, progress: dict[str, Any]) -> str:
        if progress.get("stage") != "fit":
            return STAGES.get(self.stage, self.stage) + ("" if self.title else " …")
        parts = [f"epoch {progress.get('epoch', '?')}/{progress.get('epochs', '?')}"]
        parts += [f"{name} {progress[name]:.4f}" for name in ("loss", "metric") if name in progress]
        parts.append(f"{clock(time.monotonic() - self.started_at)} elapsed")
        return "  ".join([*parts, *self._left(progress)])

    def _left(self, progress: dict[str, Any]) -> list[str]:
        """An estimate, at most: early stopping ends many fits sooner."""
        epoch, epochs = progress.get("epoch", 0), progress.get("epochs", 0)
        if self.fit_at is None or epoch < 2 or epochs < epoch:
            return []
        left_s = (time.monotonic() - self.fit_at) / (epoch - 1) * (epochs - epoch)
        return [f"at most {clock(left_s)} left"]

    def _write(self, text: str) -> None:
        self.stream.write(text, str, "")
        self.stream.flush()


STAGES = {
    "queued": "waiting for a worker",
    "start": "starting",
    "read": "reading the data",
    "write": "writing the version",
    "register": "registering the version",
    "check": "a worker checks the version",
    "evaluate": "a worker measures it on the rows held out",
    "release": "the gate decides",
}


def clock(seconds: float) -> str:
    """For example 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""gunicorn for one machine: one process with threads, which the embedded install needs and the tests share.

HOST and PORT say where it listens, WEB_THREADS how many requests it answers at once. END_WITH_PARENT is for a
terminal: the server ends with what started it, and a closed terminal ends it instead of reloading it.
"""

import ctypes
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1

wsgi_app = "serving_site.wsgi:application"
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = 1
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "16"))
graceful_timeout = 30
keepalive = 5
accesslog = None  # the site logs each request itself, with its id
loglevel = "warning"
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a heartbeat file, unlinked at once
_told_to_outlive_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup


def when_ready(server: Any) -> None:
    """Called by gunicorn in its main process, once its own signal handlers stand."""
    site = os.environ.get("SITE_URL") or f"http://{bind}"
    print(f"Serving Site answers at {site} (Ctrl-C ends it).", file=sys.stderr, flush=True)
    if os.environ.get("END_WITH_PARENT"):
        if not _told_to_outlive_terminal:
            signal.signal(signal.SIGHUP, lambda *_: os.kill(server.pid, signal.SIGTERM))
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

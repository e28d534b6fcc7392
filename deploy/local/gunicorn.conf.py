"""gunicorn for one machine: one process with threads, which the embedded install needs and the tests share.

HOST and PORT say where it listens, WEB_THREADS how many requests it answers at once.
"""

import os

wsgi_app = "serving_site.wsgi:application"
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = 1
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "16"))
graceful_timeout = 30
keepalive = 5
accesslog = None  # the site logs each request itself, with its id
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a heartbeat file, unlinked at once

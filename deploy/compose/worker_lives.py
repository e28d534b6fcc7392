"""Ends with 0 if the worker of this container has written its heartbeat within 10 s: the container's health check."""

import os
import socket
import sys
from pathlib import Path

import psycopg

SEEN = "SELECT count(*) FROM jobs_worker WHERE host = %s AND seen_at > now() - interval '10 seconds'"

with psycopg.connect(Path(os.environ["DATABASE_URL_FILE"]).read_text().strip(), connect_timeout=3) as connection:
    found = connection.execute(SEEN, [socket.gethostname()]).fetchone()
sys.exit(0 if found and found[0] else 1)

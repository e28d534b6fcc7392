"""The WSGI application. In the embedded install, loading it in the serving process starts the in-process worker."""

import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serving_site.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - needs the application's set-up

# The ringing thread must not wait 5 ms, Python's default, for the thread that is still writing the person's answer.
sys.setswitchinterval(0.0005)

if settings.EMBEDDED:
    from serving_site.jobs.worker import start_embedded

    start_embedded()

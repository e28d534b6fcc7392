"""The WSGI application. In the embedded install, loading it in the serving process starts the in-process worker."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serving_site.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - needs the application's set-up

if settings.EMBEDDED:
    from serving_site.jobs.worker import start_embedded

    start_embedded()

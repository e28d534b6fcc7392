"""The settings of the tests: the site's own, away from the developer's environment and data."""

import os

from tests.session import GROUND

_SITE_VARIABLES = (
    "ALLOWED_HOSTS API_OWNER DATABASE_URL DEBUG EMAIL_URL HOST PORT QUORUM_QUEUES RABBITMQ_URL SECRET_KEY SIGNUP"
    " SITE_URL STORAGE_URL TRUSTED_PROXIES DJANGO_SUPERUSER_USERNAME DJANGO_SUPERUSER_EMAIL DJANGO_SUPERUSER_PASSWORD"
)
for _name in _SITE_VARIABLES.split():
    os.environ.pop(_name, None)
os.environ["DATA_DIR"] = str(GROUND.directory / "data")

from serving_site.settings import *  # noqa: E402, F403 - reads the environment set above

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # logging in is not what most tests test
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"  # no collectstatic before a test
}

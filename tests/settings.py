"""The settings of the tests: the site's own, away from the developer's environment and data."""

import os
import re

from tests.session import GROUND, REPOSITORY

_READ_FROM_ENVIRONMENT = re.compile(r'env(?:\.\w+)?\(\s*"([A-Z_]+)"')
for _name in _READ_FROM_ENVIRONMENT.findall((REPOSITORY / "serving_site" / "settings.py").read_text()):
    os.environ.pop(_name, None)
os.environ["DATA_DIR"] = str(GROUND.directory / "data")

from serving_site.settings import *  # noqa: E402, F403 - reads the environment set above

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # logging in is not what most tests test
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"  # no collectstatic before a test
}
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - WhiteNoise warns where there is none

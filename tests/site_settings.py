"""What processes of the site run with in tests: the site's own settings, and the zoo beside the architectures."""

from serving_site.settings import *  # noqa: F403

MODEL_ARCHITECTURES = ["mlmodels.architectures", "tests.zoo", "tests.nearest"]
MODEL_RECIPES = ["tests.nearest", "tests.sleepy"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_USE_FINDERS = True  # no collectstatic before a test
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405

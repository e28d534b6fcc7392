"""The one settings file, read from the environment; the README's table explains each variable.

A clone runs with no variable set: SQLite, an in-process worker, a secret kept in `DATA_DIR`.
A wrong value stops the start with one sentence (`ImproperlyConfigured`).
"""

import os
import re
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from serving_site import logs, storage_url

django_stubs_ext.monkeypatch()  # generic classes such as ModelAdmin[Release] at run time

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(environ.FileAwareEnv):  # type: ignore[misc]
    """The environment; a value that cannot be read stops the start and names its variable.

    A value is what it says: the library would take a secret that begins with $ for another variable's name.
    """

    def get_value(self, var: str, cast: Any = None, *args: Any, **options: Any) -> Any:
        value = self.ENVIRON.get(var, "")
        try:
            if isinstance(value, str) and value.startswith("$"):
                return self.parse_value(value, cast)
            return super().get_value(var, cast, *args, **options)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} cannot be read: {error}.") from None

    def count(self, var: str, default: int) -> int:
        """A whole number from 1."""
        number: int = self.int(var, default=default)
        if number < 1:
            raise ImproperlyConfigured(f"{var} is {number}: expected 1 or more.")
        return number


env = Environment()

DEBUG = env.bool("DEBUG", default=False)
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "data"))).resolve()
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
SITE_URL = env.str("SITE_URL", default=f"http://{'127.0.0.1' if HOST == '0.0.0.0' else HOST}:{PORT}").rstrip("/")  # noqa: S104
HTTPS = SITE_URL.startswith("https://")


def _kept_secret(path: Path) -> str:
    """The secret in `path`, made on first use with mode 600; two first starts agree on one."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


SECRET_KEY = env.str("SECRET_KEY", default="") or _kept_secret(DATA_DIR / "secret_key")
if not DEBUG and (len(SECRET_KEY) < 32 or len(set(SECRET_KEY)) < 5 or SECRET_KEY.startswith("django-insecure")):
    raise ImproperlyConfigured(
        "SECRET_KEY is a default or too short: give at least 32 random characters, "
        "or leave it unset and one is made in DATA_DIR."
    )


def _own_names() -> list[str]:
    names = {"localhost", "127.0.0.1", "[::1]", HOST, socket.gethostname(), urlsplit(SITE_URL).hostname or ""}
    return sorted(names - {"", "0.0.0.0", "::"})  # noqa: S104


ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=_own_names())
if not DEBUG and "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS=* is refused with DEBUG off: name the hosts that people use.")

RABBITMQ_URL = env.str("RABBITMQ_URL", default="")
EMBEDDED = not RABBITMQ_URL
QUORUM_QUEUES = env.bool("QUORUM_QUEUES", default=False)
DATABASE_URL = env.str("DATABASE_URL", default="")
if RABBITMQ_URL and not DATABASE_URL.startswith("postgres"):
    raise ImproperlyConfigured(
        "RABBITMQ_URL is set without DATABASE_URL: several processes need PostgreSQL. Set both, or neither."
    )

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_dramatiq",
    "django_structlog",
    "csp",
    "serving_site.jobs",
    "serving_site.accounts",
    "mlmodels",
    "predictions",
    "serving_site.keeping",
]
MIDDLEWARE = [
    "serving_site.accounts.middleware.ClientAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "serving_site.uploads.UploadLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
METRICS = env.bool("METRICS", default=False)
if METRICS:
    MIDDLEWARE.insert(0, "serving_site.metrics.middleware.RequestsMiddleware")
ROOT_URLCONF = "serving_site.urls"
WSGI_APPLICATION = "serving_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "serving_site" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "serving_site.banner.degraded",
            ],
        },
    }
]

SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATA_DIR / "site.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 4,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    },
}
if DATABASE_URL:
    if urlsplit(DATABASE_URL).scheme not in ("postgres", "postgresql", "sqlite"):
        raise ImproperlyConfigured("DATABASE_URL has no known scheme: expected postgres:// or sqlite:///.")
    try:
        DATABASES = {"default": env.db_url_config(DATABASE_URL)}
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL cannot be read: {error}.") from None
    DATABASES["default"]["CONN_MAX_AGE"] = None
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        DATABASES["default"]["ENGINE"] = "serving_site.postgresql"
        DATABASES["default"]["OPTIONS"] = {
            "connect_timeout": 3,
            # A host that freezes or vanishes in the middle of a transaction holds its locks no longer than a lease.
            "options": "-c idle_in_transaction_session_timeout=30s",
            # A connection whose other end cannot be reached is given up within half a minute, not a quarter of an hour.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            **DATABASES["default"].get("OPTIONS", {}),
        }
    elif DATABASES["default"]["ENGINE"] == SQLITE["ENGINE"]:
        DATABASES["default"]["OPTIONS"] = SQLITE["OPTIONS"]
else:
    DATABASES = {"default": SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.stub.StubBroker" if EMBEDDED else "serving_site.broker.Broker",
    "OPTIONS": {} if EMBEDDED else {"amqp_url": RABBITMQ_URL, "quorum": QUORUM_QUEUES, "confirm_delivery": True},
    "MIDDLEWARE": [
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "dramatiq.middleware.CurrentMessage",
        "dramatiq.middleware.Retries",  # only so that an actor can say max_retries=0
    ],
}
WORKER_SLOTS = env.count("WORKER_SLOTS", default=2)

MODEL_ARCHITECTURES = ["mlmodels.architectures", *env.list("MODEL_ARCHITECTURES", default=[])]
MODEL_RECIPES = env.list("MODEL_RECIPES", default=[])
MODEL_CACHE = env.count("MODEL_CACHE", default=4)
MODEL_MEMORY_MB = env.count("MODEL_MEMORY_MB", default=2048)
PREDICTION_DEADLINE_S = env.float("PREDICTION_DEADLINE_S", default=20.0)
ALLOW_EXECUTABLE_ARTIFACTS = env.bool("ALLOW_EXECUTABLE_ARTIFACTS", default=False)
MAX_ARTIFACT_BYTES = env.count("MAX_ARTIFACT_BYTES", default=1024**3)
MODEL_REPOSITORY = Path(env.str("MODEL_REPOSITORY", default=str(DATA_DIR / "models.git"))).resolve()
PUSH_WAIT_S = env.float("PUSH_WAIT_S", default=600.0)

STORAGE_URL = env.str("STORAGE_URL", default=(DATA_DIR / "files").as_uri())
_file_storages = storage_url.storages_of(STORAGE_URL, has_secret=bool(env.str("SECRET_KEY", default="")))
STORAGES = {
    "default": _file_storages["uploads"],
    **_file_storages,
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
ACCEL_REDIRECT = env.str("ACCEL_REDIRECT", default="")
if not re.fullmatch(r"(/[a-z0-9/_-]+/)?", ACCEL_REDIRECT):
    raise ImproperlyConfigured(f"ACCEL_REDIRECT is {ACCEL_REDIRECT!r}: expected a place of the proxy's, /protected/.")
BACKUP_DIR = Path(env.str("BACKUP_DIR", default=str(DATA_DIR / "backups"))).resolve()
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(DATA_DIR / "static"))).resolve()
WHITENOISE_MANIFEST_STRICT = False  # a page without its style is better than no page
STATICFILES_DIRS = [BASE_DIR / "serving_site" / "static"]

MAX_UPLOAD_BYTES = env.count("MAX_UPLOAD_BYTES", default=10 * 1024**2)
FILE_UPLOAD_HANDLERS = [
    "serving_site.uploads.CappedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
MAX_IMAGE_PIXELS = 25_000_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024**2 + 512 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
SIGNUP = env.str("SIGNUP", default="closed")
if SIGNUP not in ("closed", "open"):
    raise ImproperlyConfigured(f"SIGNUP is {SIGNUP!r}: expected closed or open.")
API_OWNER = env.str("API_OWNER", default="site")
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HTTPS else "csrftoken"
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [SITE_URL] if HTTPS else []
CSRF_FAILURE_VIEW = "serving_site.errors.csrf_failure"
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$", r"^internal/"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# The domain's other hosts are not ours to promise HTTPS for.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Serving Site <noreply@localhost>")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
LOGGING = logs.config(debug=DEBUG)
DJANGO_STRUCTLOG_CELERY_ENABLED = False

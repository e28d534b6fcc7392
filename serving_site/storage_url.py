"""What STORAGE_URL says, as Django's settings of the two storages: a folder, the web host, or a bucket."""

from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

AREAS = ("artifacts", "uploads")
BACKENDS = {
    "file": "serving_site.storage.LocalStorage",
    "site": "serving_site.storage.SiteStorage",
    "s3": "serving_site.storage_s3.BucketStorage",
}
BUCKET_OPTIONS = {"endpoint_url", "region_name"}


def storages_of(url: str, *, has_secret: bool) -> dict[str, dict[str, Any]]:
    """The entry of STORAGES for each area. Raises ImproperlyConfigured.

    `has_secret`: SECRET_KEY is given and not made here, so that web host and workers can share it.
    """
    parts = urlsplit(url)
    read = {"file": _folder, "site": _site, "s3": _bucket}.get(parts.scheme)
    if read is None:
        raise ImproperlyConfigured(f"STORAGE_URL starts with {parts.scheme!r}: expected file://, site:// or s3://.")
    if parts.scheme == "site" and not has_secret:
        raise ImproperlyConfigured("STORAGE_URL=site:// needs SECRET_KEY: the web host and its workers share it.")
    base, options = read(url, parts)
    return {
        area: {"BACKEND": BACKENDS[parts.scheme], "OPTIONS": {"base": f"{base}/{area}", **options}} for area in AREAS
    }


def _folder(url: str, parts: SplitResult) -> tuple[str, dict[str, str]]:
    if parts.netloc or not parts.path.startswith("/"):
        raise ImproperlyConfigured(f"STORAGE_URL is {url!r}: expected file:///an/absolute/folder.")
    return unquote(parts.path), {}


def _site(url: str, parts: SplitResult) -> tuple[str, dict[str, str]]:
    if not parts.hostname or parts.path.strip("/"):
        raise ImproperlyConfigured(f"STORAGE_URL is {url!r}: expected site://host:port.")
    return parts.netloc, {}


def _bucket(url: str, parts: SplitResult) -> tuple[str, dict[str, str]]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not parts.netloc or "@" in parts.netloc or not set(options) <= BUCKET_OPTIONS:
        raise ImproperlyConfigured(
            "STORAGE_URL=s3:// cannot be read: expected s3://bucket/folder?endpoint_url=https://host&region_name=name "
            "(only the bucket is needed). Keys come from the environment (AWS_ACCESS_KEY_ID) or the machine's role."
        )
    if find_spec("storages") is None:
        raise ImproperlyConfigured(
            "STORAGE_URL=s3:// needs more packages: pip install --require-hashes -r requirements/s3.txt"
        )
    return f"{parts.netloc}{parts.path}".rstrip("/"), options

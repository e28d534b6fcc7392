"""Files in a bucket of any service that speaks S3. Needs requirements/s3.txt, and is imported only where it is used.

Keys come from the environment or the machine's role, never from STORAGE_URL. They must allow to list the bucket: to
those who may not, S3 says that a missing file is forbidden.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from django.utils.deconstruct import deconstructible
from storages.backends.s3 import S3Storage

from serving_site.storage import CHUNK, checked

CONNECT_S, READ_S, ATTEMPTS = 5, 30, 3


@deconstructible
class BucketStorage(S3Storage):  # type: ignore[misc]
    """A folder of a bucket. A file that is not there is FileNotFoundError; every other failure is another OSError."""

    def __init__(self, base: str, endpoint_url: str = "", region_name: str = "") -> None:
        bucket, _, location = base.partition("/")
        elsewhere = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        super().__init__(
            bucket_name=bucket,
            location=location,
            endpoint_url=elsewhere or None,
            region_name=region_name or None,
            client_config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                # Other services than Amazon's know neither its newer checksums nor names of buckets as names of hosts.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if elsewhere else "auto"},
            ),
        )

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": f"{self.location}/{checked(name)}"}

    @property
    def _client(self) -> Any:
        return self.connection.meta.client

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """A local copy, whole: a connection that ends early is an OSError, never a shorter file."""
        place = self._place(name)
        kept = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            with _told(name), contextlib.closing(self._client.get_object(**place)["Body"]) as body:
                shutil.copyfileobj(body, kept, CHUNK)
        except BaseException:
            kept.close()
            raise
        kept.seek(0)
        return File(kept, name=name)

    def _save(self, name: str, content: Any) -> str:
        """In parts where it is large; the file appears when the last one is there."""
        place = self._place(name)
        with _told(name), tempfile.TemporaryFile() as kept:  # which the library may close
            for chunk in content.chunks():
                kept.write(chunk)
            kept.seek(0)
            self._client.upload_fileobj(kept, **place)
        return name

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def delete(self, name: str) -> None:
        place = self._place(name)
        with _told(name):
            self._client.delete_object(**place)

    def exists(self, name: str) -> bool:
        """By listing: to a question for one file alone, a missing bucket answers like a missing file."""
        place = self._place(name)
        with _told(name):
            found = self._client.list_objects_v2(Bucket=place["Bucket"], Prefix=place["Key"], MaxKeys=1)
        return [one["Key"] for one in found.get("Contents", [])] == [place["Key"]]

    def stored(self) -> Iterator[tuple[str, datetime]]:
        """The name of each file, and when it was written."""
        pages = self._client.get_paginator("list_objects_v2")
        with _told(self.location):
            for page in pages.paginate(Bucket=self.bucket_name, Prefix=f"{self.location}/"):
                for one in page.get("Contents", []):
                    yield one["Key"].rpartition("/")[2], one["LastModified"]


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """What the libraries raise becomes what every storage raises."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchKey":
            raise FileNotFoundError(name) from None
        raise OSError(f"the bucket refused file {name}: {error}") from None
    except (BotoCoreError, Boto3Error) as error:
        raise OSError(f"the bucket cannot be reached for file {name}: {error}") from None

"""Files are capped while they stream in: what is over the limit is read and dropped, never stored, and answered 413."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest, HttpResponse

from serving_site.errors import error_page

DRAIN_BYTES = 256 * 1024**2
"""A body up to this size is read to its end, so that the browser can show our answer; a larger one is cut off."""
FORM_BYTES = 1024**2
"""What the other parts of a form may weigh beside its files before its declared length alone refuses it."""


class CappedUpload(FileUploadHandler):
    """First in the row of upload handlers. Marks the request with the sentence `refused_upload` and stops."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.limit = limit_for(request) if request else settings.MAX_UPLOAD_BYTES
        self.declared = 0
        self.seen = 0

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        self.declared = int(args[2] if len(args) > 2 else kwargs["content_length"])

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.declared > self.limit + FORM_BYTES:
            self._refuse()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.seen += len(raw_data)
        if self.seen > self.limit:
            self._refuse()
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None

    def _refuse(self) -> None:
        sentence = f"The file is too large: at most {self.limit // 1024**2} MB are accepted."
        self.request.refused_upload = sentence  # type: ignore[union-attr]
        raise StopUpload(connection_reset=self.declared > DRAIN_BYTES)


def limit_for(request: HttpRequest) -> int:
    """Artifacts may be large, but only from staff and only in admin."""
    user = getattr(request, "user", None)
    if request.path.startswith("/admin/") and user is not None and user.is_staff:
        return int(settings.MAX_ARTIFACT_BYTES)
    return int(settings.MAX_UPLOAD_BYTES)


class UploadLimitMiddleware:
    """Answers 413 where an upload was refused and no view has said so (the CSRF value may come after the file)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        sentence = getattr(request, "refused_upload", "")
        if sentence and response.status_code != 413:
            return error_page(request, 413, sentence)
        return response

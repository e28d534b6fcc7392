"""The form that a version's signature makes: its fields with words for people, and what was wrong with each.

Names that begin with an underscore are the form's own (no field of a signature can have one).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from mlmodels import signature as signatures
from predictions.pictures import RejectedPicture, check_picture

OWN_NAMES = ("csrfmiddlewaretoken",)
DATA_URI = re.compile(r"data:image/(?P<kind>png|jpeg|webp);base64,(?P<data>[A-Za-z0-9+/=\s]+)")
KEPT_BYTES = 1024**2
"""A picture up to this size comes back with the page when something else was wrong with the form."""


@dataclass
class FormField:
    """One field as the page shows it: the signature's field, the text in it, and what is wrong with that."""

    field: signatures.Field
    text: str = ""
    error: str = ""

    @property
    def id(self) -> str:
        return f"field-{self.field.name}"

    @property
    def described_by(self) -> str:
        """The ids of everything that explains the field, for screen readers."""
        parts = {"hint": self.hint, "about": self.field.description, "error": self.error}
        return " ".join(f"{self.id}-{name}" for name, text in parts.items() if text)

    @property
    def checked(self) -> bool:
        return self.text.lower() in ("on", "true", "yes", "1")

    @property
    def denied(self) -> bool:
        return self.text.lower() in ("off", "false", "no", "0")

    @property
    def hint(self) -> str:
        """Range and typical range, in words."""
        field, parts = self.field, []
        if field.minimum is not None and field.maximum is not None:
            parts.append(f"{plain(field.minimum)} to {plain(field.maximum)}")
        elif field.minimum is not None:
            parts.append(f"at least {plain(field.minimum)}")
        elif field.maximum is not None:
            parts.append(f"at most {plain(field.maximum)}")
        if field.typical:
            parts.append(f"typically {plain(field.typical[0])} to {plain(field.typical[1])}")
        text = ", ".join(parts)
        return text[:1].upper() + text[1:]


class InputForm:
    """A form bound to what somebody sent, or filled with an example, or empty with the signature's defaults.

    After `is_valid()`: `input` holds the typed values, `files` the pictures by field name, `errors` what to fix.
    """

    def __init__(
        self,
        signature: Mapping[str, Any],
        data: QueryDict | None = None,
        files: MultiValueDict[str, UploadedFile[Any]] | None = None,
        *,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        self.signature = signature
        self.fields = [FormField(field) for field in signatures.fields(signature)]
        self.errors: list[tuple[str, str]] = []
        self.input: dict[str, Any] = {}
        self.files: dict[str, UploadedFile[Any]] = {}
        self._by_name = {shown.field.name: shown for shown in self.fields}
        self._data = data
        self._given_files = files or MultiValueDict()
        for shown in self.fields:
            shown.text = data.get(shown.field.name, "") if data is not None else _text(shown.field, initial)

    @property
    def may_lack_values(self) -> bool:
        """Whether the model copes with a value that is not known: some field may stay empty."""
        return any(not shown.field.required and shown.field.default is None for shown in self.fields)

    def is_valid(self) -> bool:
        """Read everything; every bad field is named in `errors`, in the form's order."""
        self._read_texts()
        for shown in self.fields:
            if shown.field.kind == "image":
                self._read_picture(shown)
        for name in self._given_files:
            if name not in self._by_name or self._by_name[name].field.kind != "image":
                self.errors.append(("", f"There is no picture field “{name[:60]}”."))
        self._collect()
        return not self.errors

    def refuse(self, name: str, message: str) -> None:
        """Add what was found wrong later; `name` "" is the form as a whole."""
        shown = self._by_name.get(name)
        if shown is None:
            self.errors.append(("", message))
        else:
            shown.error = message
            self.errors.append((shown.id, message))

    def refuse_pictures(self, message: str) -> None:
        """The upload broke off for a reason that replaces everything else: say it at the picture."""
        pictures = [shown for shown in self.fields if shown.field.kind == "image"]
        self.errors = []
        for shown in pictures:
            self.refuse(shown.field.name, message)
        if not pictures:
            self.refuse("", message)

    def _read_texts(self) -> None:
        pictures = {shown.field.name for shown in self.fields if shown.field.kind == "image"}
        strings = {
            name: str(text)
            for name, text in (self._data or {}).items()
            if name not in pictures and name not in OWN_NAMES and not name.startswith("_")
        }
        try:
            self.input = signatures.parse_form(self.signature, strings)
        except signatures.InvalidInput as invalid:
            for error in invalid.errors:
                if error.field in self._by_name:
                    self._by_name[error.field].error = error.message
                else:
                    self.errors.append(("", error.message))

    def _read_picture(self, shown: FormField) -> None:
        file = self._given_files.get(shown.field.name) or _from_data_uri(shown.text)
        if file is None:
            if shown.text:
                shown.error, shown.text = "The picture that came with the page is damaged. Choose it again.", ""
            elif shown.field.required:
                shown.error = (
                    "Choose a picture, drop one here or draw one." if shown.field.draw else "Choose a picture."
                )
            return
        try:
            content_type = check_picture(file)
        except RejectedPicture as rejected:
            shown.error, shown.text = rejected.message, ""
            return
        self.files[shown.field.name] = file
        shown.text = _kept(file, content_type)

    def _collect(self) -> None:
        self.errors += [(shown.id, shown.error) for shown in self.fields if shown.error]


def _text(field: signatures.Field, initial: Mapping[str, Any] | None) -> str:
    value = (initial or {}).get(field.name, field.default)
    if value is None or field.kind == "image":
        return str(value or "")
    return plain(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _from_data_uri(text: str) -> UploadedFile[Any] | None:
    """The picture that the page carried in a text: an example, or one kept from the last try."""
    found = DATA_URI.fullmatch(text)
    if not found:
        return None
    try:
        content = base64.b64decode(found["data"], validate=False)
    except (binascii.Error, ValueError):
        return None
    return SimpleUploadedFile(f"picture.{found['kind']}", content, f"image/{found['kind']}")


def _kept(file: UploadedFile[Any], content_type: str) -> str:
    if (file.size or 0) > KEPT_BYTES:
        return ""
    content = file.read()
    file.seek(0)
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def plain(value: float) -> str:
    """A number as one would type it."""
    return f"{value:.10g}"

"""What a column's header says: a name for the field, a title for people, a unit."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence

from mlmodels.datasets.rows import BadData
from mlmodels.signature_wording import printable

UNITS = {
    "mm": "mm", "cm": "cm", "km": "km", "um": "µm", "µm": "µm", "nm": "nm", "in": "in", "inch": "in", "inches": "in",
    "ft": "ft", "feet": "ft", "miles": "miles", "kg": "kg", "mg": "mg", "ug": "µg", "lb": "lb", "lbs": "lb",
    "grams": "g", "gram": "g", "oz": "oz", "ms": "ms", "sec": "s", "secs": "s", "seconds": "s", "min": "min",
    "mins": "min", "minutes": "min", "hours": "hours", "hrs": "hours", "days": "days", "weeks": "weeks",
    "months": "months", "years": "years", "yrs": "years", "ml": "ml", "dl": "dl", "liters": "l", "litres": "l",
    "mmhg": "mmHg", "pct": "%", "percent": "%", "usd": "USD", "eur": "EUR", "gbp": "GBP", "celsius": "°C",
    "kelvin": "K", "fahrenheit": "°F", "mph": "mph", "kmh": "km/h", "kph": "km/h", "hz": "Hz", "khz": "kHz",
    "mhz": "MHz", "kw": "kW", "kwh": "kWh", "mw": "MW", "watts": "W", "hp": "hp", "mpa": "MPa", "kpa": "kPa",
    "hpa": "hPa", "bar": "bar", "sqft": "sq ft", "sqm": "m²", "ppm": "ppm", "ppb": "ppb", "deg": "°",
}  # fmt: skip
# Single letters say what they mean only where they stand in brackets: `dose_g` could be dose G.
BRACKETED = {
    "m": "m", "g": "g", "s": "s", "h": "h", "l": "l", "k": "K", "c": "°C", "f": "°F", "w": "W", "v": "V", "a": "A",
    "°c": "°C", "°f": "°F", "°": "°", "%": "%", "$": "$", "€": "€", "£": "£", "t": "t", "mol": "mol", "mmol": "mmol",
    "pa": "Pa", "j": "J", "kj": "kJ", "n": "N", "kcal": "kcal", "u": "U", "iu": "IU", "sq": "sq",
}  # fmt: skip
BETWEEN = re.compile(r"[/·*^²³ ]|(?<=[a-z])[23]|-[123]")
IN_BRACKETS = re.compile(r"(.*\S)\s*(?:\(([^()]{1,16})\)|\[([^\[\]]{1,16})\])")
IN_SQUARE = re.compile(r".*\[[^\[\]]+\]")
AT_THE_END = re.compile(r"(.*[^\W_])[_ ]+([^\W_]+)")
LONGEST = 60


def title_and_unit(header: str) -> tuple[str, str]:
    """`length (cm)`, `length [cm]` and `length_cm` → ("Length", "cm"); the unit is empty where none is known."""
    if found := IN_BRACKETS.fullmatch(header):
        text = (found[2] or found[3]).strip()
        unit = _unit(text) or (text if found[3] else "")
        if unit:
            return titled(found[1]), unit
    elif (found := AT_THE_END.fullmatch(header)) and found[2].lower() in UNITS:
        return titled(found[1]), UNITS[found[2].lower()]
    return titled(header), ""


def titled(header: str) -> str:
    """A header as a person reads it: spaces for underscores, a capital where it is all small."""
    text = " ".join(header.replace("_", " ").split()) or header
    return text[:1].upper() + text[1:] if text == text.lower() else text


def _unit(text: str) -> str:
    """What stands in brackets, where each of its parts is a unit: `kg/m^2`, `mg/dl`."""
    small = text.lower()
    known = UNITS.get(small) or BRACKETED.get(small)
    if known:
        return known
    parts = [part for part in BETWEEN.split(small) if part and not part.isdigit()]
    return text if parts and all(part in UNITS or part in BRACKETED for part in parts) else ""


def safe_names(headers: Sequence[str]) -> list[str]:
    """A name for each field that a signature accepts; no two alike.

    A header that is a name already keeps it; among the others the second gets `_2` behind it.
    """
    wanted = [_safe(header, number) for number, header in enumerate(headers, start=1)]
    taken = {header for header, name in zip(headers, wanted, strict=True) if header == name}
    names = []
    for header, name in zip(headers, wanted, strict=True):
        unique, number = name, 2
        while header != name and unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        names.append(unique)
    return names


def _safe(header: str, number: int) -> str:
    plain = unicodedata.normalize("NFKD", header.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not name:
        return f"c{number}"
    return (name if name[0].isalpha() else f"c_{name}")[:LONGEST]


def find(wanted: str, headers: Sequence[str]) -> int:
    """Where the column `wanted` is. Raises BadData that names the known ones and the nearest."""
    if wanted in headers:
        return headers.index(wanted)
    alike = [at for at, header in enumerate(headers) if header.casefold() == wanted.strip().casefold()]
    if len(alike) == 1:
        return alike[0]
    near = difflib.get_close_matches(wanted, headers, n=1)
    hint = f" Did you mean “{printable(near[0])}”?" if near else ""
    shown = ", ".join(printable(header) for header in headers[:20])
    more = f" and {len(headers) - 20} more" if len(headers) > 20 else ""
    raise BadData(f"There is no column “{printable(wanted)}”.{hint} The file has {shown}{more}.")

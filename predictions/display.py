"""A prediction as a person reads it: the answer drawn, the input shown again, and what happened in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from mlmodels import signature as signatures
from mlmodels.models import Task
from predictions.models import Prediction
from serving_site import charts
from serving_site.jobs.models import Status
from serving_site.words import duration, number, percent

SORTED_UP_TO = 5
SHOWN_CLASSES = 12
SHOWN_ROWS = 50
LONG_NAME = 14

STATUS_WORDS = {
    Status.QUEUED: "Waiting",
    Status.RUNNING: "Running",
    Status.SUCCEEDED: "Done",
    Status.FAILED: "Failed",
    Status.CANCELED: "Canceled",
}

ADVICE = {
    "bad_input": "Change the input and try again.",
    "timeout": "Try a smaller input, or run it again later.",
    "out_of_memory": "Try a smaller input.",
    "infrastructure": "It was nothing in your input. Run it again.",
    "model_unavailable": "Run it again when the model is back; an operator has been told.",
}
ADVICE_ELSE = "Run it again; if it fails again, tell an operator of this site the number below."


@dataclass(frozen=True)
class Bar:
    """One class of a classification."""

    title: str
    percent: str
    meter: SafeString
    top: bool


@dataclass(frozen=True)
class Answer:
    """One output: either classes with their bars, or a number on its scale."""

    what: str
    value: str
    beside: str
    bars: list[Bar]
    more_bars: list[Bar]
    chart: SafeString | None
    sentence: str
    has_long_names: bool = False
    """Whether a name of a class is so long that it wants a line of its own on a narrow screen."""


@dataclass(frozen=True)
class Shown:
    """One field of an input as it was given."""

    title: str
    value: str
    unit: str
    picture: str | None
    is_given: bool = True


@dataclass(frozen=True)
class Row:
    """One of a prediction's inputs with its answer, if there is one."""

    number: int
    shown: list[Shown]
    answer: Answer | None


def rows(prediction: Prediction) -> list[Row]:
    """The first rows of `prediction`, each with its input and its answer."""
    signature = prediction.version.signature
    outputs = prediction.outputs or []
    return [
        Row(
            number=index + 1,
            shown=shown(signature, given, prediction.previews.get(str(index), {})),
            answer=answer(signature, outputs[index]) if index < len(outputs) else None,
        )
        for index, given in enumerate(prediction.inputs[:SHOWN_ROWS])
    ]


def answer(signature: Mapping[str, Any], output: Mapping[str, Any]) -> Answer:
    """`output` put into words and drawn, by the output part of `signature`."""
    properties = signature["output"]["properties"]
    if "label" in properties:
        return _classes(properties["label"], output)
    return _number(properties["value"], output["value"])


def _classes(spec: Mapping[str, Any], output: Mapping[str, Any]) -> Answer:
    titles = spec.get("x-labels", {})
    shares = output["probabilities"]
    order = list(spec["enum"])
    if len(order) <= SORTED_UP_TO or len(order) > SHOWN_CLASSES:
        order.sort(key=lambda name: -shares[name])
    bars = [
        Bar(titles.get(name, name), percent(shares[name]), charts.meter(shares[name]), name == output["label"])
        for name in order
    ]
    chosen = output["label"]
    return Answer(
        what=spec["title"],
        value=titles.get(chosen, chosen),
        beside=percent(shares[chosen]),
        bars=bars[:SHOWN_CLASSES],
        more_bars=bars[SHOWN_CLASSES:],
        chart=None,
        sentence="The percentages are the model's own estimate. It can be sure and wrong.",
        has_long_names=any(len(bar.title) > LONG_NAME for bar in bars),
    )


def _number(spec: Mapping[str, Any], value: float) -> Answer:
    unit = spec.get("x-unit", "")
    typical = spec.get("x-typical")
    chart = None
    if "minimum" in spec and "maximum" in spec:
        texts = (number(value), number(spec["minimum"]), number(spec["maximum"]))
        span = (typical[0], typical[1]) if typical else None
        chart = charts.marked_range(value, spec["minimum"], spec["maximum"], texts=texts, typical=span)
    return Answer(
        what=spec["title"],
        value=number(value),
        beside=unit,
        bars=[],
        more_bars=[],
        chart=chart,
        sentence=_place(value, spec, typical),
    )


def _place(value: float, spec: Mapping[str, Any], typical: list[float] | None) -> str:
    """Where the number lies among those that the model has learned from."""
    if not typical:
        return ""
    low, high = typical
    span = f"{number(low)} and {number(high)}"
    if value < spec.get("minimum", value) or value > spec.get("maximum", value):
        return "This is outside of everything that the model has learned from: be careful with it."
    if value < low:
        return f"This is lower than usual: most cases in the training data lie between {span} (shaded)."
    if value > high:
        return f"This is higher than usual: most cases in the training data lie between {span} (shaded)."
    return f"This is in the usual range: most cases in the training data lie between {span} (shaded)."


def shown(signature: Mapping[str, Any], given: Mapping[str, Any], previews: Mapping[str, str]) -> list[Shown]:
    """Every field in the form's order; a picture is shown only as the executor redrew it."""
    return [
        _shown(field, given[field.name], previews.get(field.name))
        if field.name in given
        else Shown(field.title, "not given", "", None, is_given=False)
        for field in signatures.fields(signature)
    ]


def _shown(field: signatures.Field, value: Any, preview: str | None) -> Shown:
    if field.kind == "image":
        return Shown(field.title, "", "", reverse("file", args=[preview]) if preview else None)
    if field.kind == "boolean":
        return Shown(field.title, "yes" if value else "no", "", None)
    if field.kind == "choice":
        return Shown(field.title, dict(field.choices).get(value, value), field.unit, None)
    return Shown(field.title, f"{value:.15g}", field.unit, None)


def short_label(prediction: Prediction) -> str:
    """The answer in a list: a number as the prediction's own page writes it."""
    if prediction.model.task != Task.REGRESSION:
        return prediction.label
    try:
        return number(float(prediction.label))
    except ValueError:
        return prediction.label


def timings(prediction: Prediction) -> list[tuple[str, str]]:
    """How long it waited, loaded and computed, where that is known."""
    parts = (
        ("Waited", prediction.queue_ms),
        ("Loaded the model", prediction.load_ms),
        ("Computed", prediction.compute_ms),
    )
    return [
        (title, duration(ms)) for title, ms in parts if ms is not None and not (title.startswith("Load") and ms == 0)
    ]


def elapsed_s(prediction: Prediction) -> float:
    """Seconds since the prediction began what it is doing now."""
    since = prediction.started_at if prediction.status == Status.RUNNING else prediction.created_at
    return max(0.0, (timezone.now() - (since or prediction.created_at)).total_seconds())


def advice(prediction: Prediction) -> str:
    """What the person can do about a failure."""
    return ADVICE.get(prediction.reason_code, ADVICE_ELSE)


def place(ahead: int | None) -> str:
    """Where a waiting prediction stands; None is further back than is counted."""
    if ahead is None:
        return "More than 1,000 predictions go first."
    if ahead == 0:
        return "It is next in line."
    return "One prediction goes first." if ahead == 1 else f"{ahead:,} predictions go first."


def about_duration(seconds: float) -> str:
    """An estimate, said no more exactly than it is known."""
    if seconds < 2:
        return "a moment"
    if seconds < 55:
        return f"about {5 * max(1, round(seconds / 5))} seconds"
    minutes = max(1, round(seconds / 60))
    return (
        f"about {minutes} minute{'s' if minutes > 1 else ''}" if minutes < 90 else f"about {round(minutes / 60)} hours"
    )

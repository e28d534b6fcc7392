"""The gate's thresholds of one model as a form: each known one with what it means, empty where the site's own holds."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from mlmodels import gate
from mlmodels.models import MLModel, Task

PREFIX = "gate_"
BOTH, CLASSES, NUMBERS = tuple(Task.values), (Task.CLASSIFICATION.value,), (Task.REGRESSION.value,)
WORDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "max_drop": (BOTH, "Accuracy or R² may fall by", "0.01 is one of a hundred."),
    "max_balanced_drop": (CLASSES, "Balanced accuracy may fall by", "Every class counts alike, however rare."),
    "max_log_loss_rise": (CLASSES, "Log loss may grow by the factor", "1.25 is a quarter more."),
    "max_mae_rise": (NUMBERS, "Mean error may grow by the factor", "1.05 is a twentieth more."),
    "max_rmse_rise": (NUMBERS, "Root mean squared error may grow by the factor", "Large errors count more."),
    "min_accuracy": (CLASSES, "Accuracy must be at least", "Whatever is live."),
    "min_r2": (NUMBERS, "R² must be at least", "Whatever is live."),
    "max_latency_factor": (BOTH, "Time for one row may grow by the factor", "Of the median."),
    "latency_floor_ms": (BOTH, "Below so many milliseconds time never matters", "Of the median of one row."),
    "replay_last": (BOTH, "So many stored inputs are answered again", "The newest ones; 0 for none."),
    "max_disagreement": (BOTH, "So large a share of them may be answered otherwise", "0.25 is one of four."),
}
"""Name: (tasks that it matters to, what it says, an explanation)."""


def names_for(model: MLModel) -> list[str]:
    """The thresholds that mean something for the model's task; one that has no words yet is shown by its name."""
    return [name for name in gate.DEFAULTS if model.task in WORDS.get(name, (BOTH,))[0]]


class ThresholdsForm(forms.ModelForm[MLModel]):
    """Writes into `gate` what was typed, and nothing for what was left empty."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in self._names():
            self.initial[PREFIX + name] = self.instance.gate.get(name)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        typed = {name: cleaned.get(PREFIX + name) for name in self._names() if PREFIX + name not in self.errors}
        kept = {name: value for name, value in self.instance.gate.items() if name not in typed}
        own = {**kept, **{name: value for name, value in typed.items() if value is not None}}
        try:
            gate.validate_thresholds(own)
        except ValidationError as error:
            self.add_error(None, error)
        else:
            self.instance.gate = own
        return cleaned

    def _names(self) -> list[str]:
        return [name for name in names_for(self.instance) if PREFIX + name in self.fields]


def form_class(*, may_change: bool) -> type[ThresholdsForm]:
    """The form with a field for each threshold; who may not override the gate sees them, and changes none."""
    fields = {PREFIX + name: _field(name, may_change) for name in gate.DEFAULTS}
    return type("ModelThresholdsForm", (ThresholdsForm,), fields)


def _field(name: str, may_change: bool) -> forms.Field:
    _, label, help_text = WORDS.get(name, (BOTH, name, ""))
    low, high = gate.BOUNDS[name]
    default = gate.DEFAULTS[name]
    is_whole = name == "replay_last"
    shown = "nothing" if default is None else f"{default:g}"
    kind: Any = forms.IntegerField if is_whole else forms.FloatField
    field: forms.Field = kind(
        label=label,
        help_text=f"{help_text} Empty: {shown}.",
        required=False,
        disabled=not may_change,
        min_value=low,
        max_value=high,
        widget=forms.NumberInput(attrs={"placeholder": shown, "step": "1" if is_whole else "any"}),
    )
    return field

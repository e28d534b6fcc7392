"""The levers of training: ask for a run, and stop one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from mlmodels import training_runs
from mlmodels.admin import shown
from mlmodels.admin.pages import ask, require
from mlmodels.models import DatasetSnapshot, MLModel, Promote, TrainingRun
from serving_site.accounts.admin import person

OFFERED_SNAPSHOTS = 20
LARGEST_SEED = 2**31 - 1


class SnapshotField(forms.ModelChoiceField[DatasetSnapshot]):
    def label_from_instance(self, obj: DatasetSnapshot) -> str:
        rows = obj.train_rows + obj.holdout_rows
        return f"{obj.created_at:%Y-%m-%d %H:%M}: {rows:,} rows, {obj.source} ({obj.sha256[:12]})"


class RetrainForm(forms.Form):
    """Nothing that a run makes goes live by itself unless the person may release."""

    snapshot = SnapshotField(
        queryset=DatasetSnapshot.objects.none(), label="Data", empty_label=None,
        help_text="The rows held out of it are never given to the training.",
    )  # fmt: skip
    seed = forms.IntegerField(
        min_value=0, max_value=LARGEST_SEED, initial=0, help_text="The same seed and data give the same weights."
    )
    epochs = forms.IntegerField(
        required=False, min_value=1, max_value=100_000, help_text="The most that it takes. Empty: as its recipe says."
    )
    promote = forms.ChoiceField(
        choices=Promote.choices, label="Make it live", help_text="Only what passes the gate ever goes live."
    )
    reason = forms.CharField(required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, data: Any, *, model: MLModel, may_release: bool) -> None:
        super().__init__(data)
        newest = model.snapshots.order_by("-id").values("pk")[:OFFERED_SNAPSHOTS]
        offered = self.fields["snapshot"]
        assert isinstance(offered, SnapshotField)
        offered.queryset = model.snapshots.filter(pk__in=list(newest.values_list("pk", flat=True))).order_by("-id")
        offered.initial = offered.queryset.first()
        if not may_release:
            choice = self.fields["promote"]
            assert isinstance(choice, forms.ChoiceField)
            choice.choices = [(Promote.NEVER, Promote.NEVER.label)]
            choice.help_text = "You may not release: the version waits for somebody who may."


def retrain(request: HttpRequest, key: Any) -> HttpResponse:
    """Ask for a training; its page follows it."""
    require(request, "mlmodels.add_trainingrun")
    model = get_object_or_404(MLModel, pk=key)
    form = RetrainForm(request.POST or None, model=model, may_release=request.user.has_perm("mlmodels.add_release"))
    if request.method == "POST" and form.is_valid():
        try:
            run = training_runs.submit(model, by=person(request), request=request, **form.cleaned_data)
        except training_runs.Busy as busy:
            form.add_error(None, str(busy))
        else:
            messages.success(request, "A worker trains it; this page follows it.")
            return redirect(shown.address(run))
    if not model.snapshots.exists():
        notes = [f"No data of {model} is kept here. Give some once: manage.py retrain {model} --data FILE.csv"]
        return ask(request, f"Retrain {model}", None, back=model, notes=notes)
    return ask(request, f"Retrain {model}", form, back=model, question=_question(model), button="Retrain")


def _question(model: MLModel) -> str:
    run = training_runs.current(model)
    if run is None:
        return f"Train {model} anew?"
    return f"{model} is being trained already, since {shown.exact(run.created_at)}, asked for by {run.owner}."


def cancel(request: HttpRequest, key: Any) -> HttpResponse:
    """Stop a run that waits or trains."""
    require(request, "mlmodels.change_trainingrun")
    run = get_object_or_404(TrainingRun.objects.select_related("model"), pk=key)
    if request.method == "POST":
        if training_runs.cancel(run, by=person(request), request=request):
            messages.success(request, "The training is canceled.")
        else:
            messages.info(request, "It had ended before it could be canceled.")
        return redirect(shown.address(run))
    question = f"Stop this training of {run.model}? What it has learned so far is lost."
    if run.is_final:
        return ask(request, "Cancel the training", None, back=run, question="It has ended already.")
    return ask(request, "Cancel the training", forms.Form(), back=run, question=question)

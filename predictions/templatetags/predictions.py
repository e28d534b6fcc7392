"""Small words around predictions in templates."""

from django import template

from predictions.display import STATUS_WORDS, short_label
from predictions.models import Prediction
from serving_site.jobs.models import Status

register = template.Library()


@register.filter
def status_word(status: str) -> str:
    return STATUS_WORDS[Status(status)]


@register.filter
def answer(prediction: Prediction) -> str:
    return short_label(prediction)


@register.filter
def first_sentence(text: str) -> str:
    """The first sentence of a description, for a card."""
    head, stop, _ = text.strip().partition(". ")
    return head + "." if stop else head

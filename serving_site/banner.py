"""One sentence at the top of every page while something behind the site does not answer."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from serving_site import health


def degraded(request: HttpRequest) -> dict[str, object]:
    """Context processor: `degraded` is the sentence, or empty; asked only by templates that show it."""
    return {"degraded": SimpleLazyObject(lambda: sentence(health.degraded()))}


def sentence(behind: dict[str, str]) -> str:
    if behind["workers"] != "ok":
        return "No worker is answering. What you submit is stored and runs as soon as one is back."
    if behind["broker"] != "ok":
        return "The message broker is not answering. What you submit is stored and runs with some delay."
    return ""

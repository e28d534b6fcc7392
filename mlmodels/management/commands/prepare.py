"""`manage.py prepare`: everything between an installed clone and a first request, in one process; safe to repeat."""

from typing import Any

from django.core.management import call_command

from mlmodels.management.base import Command as Base
from serving_site.accounts.first_run import ensure_administrator


class Command(Base):
    help = (
        "Migrate, set up the demo models and the first administrator; what is done is skipped. `make run` calls it.\n\n"
        "Examples:\n  manage.py prepare\n"
        "  DJANGO_SUPERUSER_USERNAME=ann DJANGO_SUPERUSER_PASSWORD=... manage.py prepare"
    )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("setup_demo")
        if sentence := ensure_administrator():
            self.say(sentence)

"""`manage.py first_administrator`: for installers, who keep the link where only the machine's owner can read it."""

from typing import Any

from serving_site.accounts.first_run import ensure_administrator
from serving_site.jobs.management.base import Command as Base


class Command(Base):
    help = (
        "Make the first administrator if there is none, and print the link that sets the password, once. It is valid "
        "for three days; run this again for another. DJANGO_SUPERUSER_USERNAME and _EMAIL name the person.\n\n"
        "Examples:\n  manage.py first_administrator\n  DJANGO_SUPERUSER_USERNAME=ann manage.py first_administrator"
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(ensure_administrator() or "The first administrator has a password already.")

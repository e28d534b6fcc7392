"""The engine that settings.py names where DATABASE_URL is PostgreSQL's; Django looks for this module in it."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose health check costs no round trip while the server says nothing."""

    def is_usable(self) -> bool:
        """Whether the server is there still. What it closed, or ended with an error, has something to be read."""
        if self.connection is not None and not self.connection.closed:
            poll = select.poll()
            poll.register(self.connection.fileno(), select.POLLIN)
            if not poll.poll(0):
                return True
        return bool(super().is_usable())

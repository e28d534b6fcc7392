"""The one temporary folder of a test session; it goes when the session's process does, even by SIGKILL."""

from deploy.local.services import Ground

GROUND = Ground()

"""Running models in sandboxed processes. Importing this package never imports torch or Django."""

from mlmodels.executor.admission import Refused, check, picture_bytes
from mlmodels.executor.client import Executor, ExecutorServer
from mlmodels.executor.outcomes import (
    ExecutorError,
    Item,
    ItemError,
    ItemOutcome,
    ItemOutput,
    Limits,
    LoadFailed,
    Run,
    RunFailed,
    ServerFailed,
)

__all__ = (
    "Executor",
    "ExecutorError",
    "ExecutorServer",
    "Item",
    "ItemError",
    "ItemOutcome",
    "ItemOutput",
    "Limits",
    "LoadFailed",
    "Refused",
    "Run",
    "RunFailed",
    "ServerFailed",
    "check",
    "picture_bytes",
)

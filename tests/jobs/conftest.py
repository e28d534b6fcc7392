"""Each test of the protocol runs on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.management import call_command
from django.db import connection, connections

from mlmodels.models import MLModel, ModelVersion, Release, State
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs import submit, wait
from tests import zoo
from tests.session import GROUND

ENGINES = ("sqlite", "postgres")
_templates: dict[str, str] = {}


def use_database(url: str) -> dict[str, Any]:
    """Make `url` the site's database in this process, for every thread; returns what it was."""
    before = dict(connections.settings["default"])
    connections["default"].close()
    parsed = environ.Env.db_url_config(url)
    options = {"OPTIONS": {"connect_timeout": 3}} if "postgres" in parsed["ENGINE"] else {}
    if not options:
        options = {"OPTIONS": before["OPTIONS"]}
    connections.settings["default"] = {**before, **parsed, **options, "CONN_HEALTH_CHECKS": False}
    del connections["default"]
    return before


def template(engine: str, request: pytest.FixtureRequest) -> str:
    """A migrated, empty database to copy: a file's path, or a PostgreSQL database's name."""
    if engine not in _templates:
        path = GROUND.directory / "template.sqlite3"
        name = "protocol_template"
        url = f"sqlite:///{path}" if engine == "sqlite" else request.getfixturevalue("postgres").createdb(name)
        before = use_database(url)
        call_command("migrate", verbosity=0)
        connections["default"].close()
        connections.settings["default"] = before
        del connections["default"]
        _templates[engine] = str(path) if engine == "sqlite" else name
    return _templates[engine]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """A migrated database of the test's own; the value is the engine's name."""
    with django_db_blocker.unblock():
        source = template(request.param, request)
        if request.param == "sqlite":
            shutil.copy(source, tmp_path / "site.sqlite3")
            url = f"sqlite:///{tmp_path}/site.sqlite3"
        else:
            postgres = request.getfixturevalue("postgres")
            url = postgres.createdb(f"t{abs(hash(request.node.nodeid)) % 10**12}", source)
        before = use_database(url)
        try:
            yield request.param
        finally:
            wait._listener = None  # it listens to this test's database
            connection.close()
            connections.settings["default"] = before
            del connections["default"]


Submit = Callable[..., Prediction]


@pytest.fixture
def live(engine: str) -> Release:
    """A released, healthy version of a model (nothing is run with it)."""
    content = zoo.manifest("ok", {}, b"weights")
    model = MLModel.objects.create(slug="zoo", title="Zoo", task="classification")
    version = ModelVersion.objects.create(
        model=model,
        number=1,
        state=State.HEALTHY,
        manifest={**content, "max_batch": 4},
        manifest_sha256="a" * 64,
        weights_sha256="b" * 64,
        artifact_bytes=1,
    )
    release = Release.objects.create(model=model, number=1, version=version, reason="first")
    MLModel.objects.filter(pk=model.pk).update(live_release=release)
    return release


@pytest.fixture
def people(engine: str) -> list[User]:
    return [User.objects.create_user(name, f"{name}@example.org") for name in ("alice", "bob", "carol")]


@pytest.fixture
def send(live: Release, people: list[User]) -> Submit:
    """Queue a prediction: `send(owner=people[1], lane=2, rows=3)`."""

    def make(owner: User | None = None, **fields: Any) -> Prediction:
        rows = fields.pop("rows", 1)
        prediction = Prediction(
            owner=owner or people[0],
            model_id=live.model_id,
            version=fields.pop("version", live.version),
            inputs=[{"x": 1.0}] * rows,
            rows=rows,
            **fields,
        )
        submit.submit(prediction)
        return prediction

    return make

"""The README is true: its commands run, its settings are those of the code, its model examples work."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.installs import Install
from tests.session import GROUND

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
NOT_RUN = {
    "make run": "tests/test_setup.py runs it from a fresh clone",
    "make test": "is what runs this test",
    "make services": "runs until Ctrl-C; tests/test_setup_services.py runs it",
    "make dev": "runs until Ctrl-C",
    "make lint": ".ci/run has a step of its own for it",
    "make bench": "takes minutes and depends on the machine",
    ".venv/bin/python manage.py prepare": "make run calls it",
    ".venv/bin/python manage.py runworker": "runs until told to stop; tests/faults run it",
    ".venv/bin/python manage.py runworker --slots 2": "runs until told to stop; tests/faults run it",
    ".venv/bin/python manage.py restore data/backups/serving-site-20261124T031500.000Z.tar --replace": (
        "stops at a site that runs; tests/keeping runs it"
    ),
    ".venv/bin/python manage.py doctor": "exits with 1 where anything is wrong; tests/keeping runs it",
    ".venv/bin/python -m gunicorn --config deploy/local/gunicorn.conf.py": "runs until told; every install runs it",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


def test_every_command_is_run_or_has_a_reason_why_not() -> None:
    assert set(NOT_RUN) <= set(commands())
    assert all(command.startswith(("make ", ".venv/bin/python ")) for command in commands())


def test_the_commands_and_the_model_examples_work_in_order() -> None:
    """In an embedded install with the site running beside, as a reader would have it."""
    wanted = [command for command in commands() if command not in NOT_RUN]
    install = Install.embedded(ALLOW_EXECUTABLE_ARTIFACTS="true")
    try:
        install.web()
        with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
            environment = {**install.environment, "PYTHONPATH": str(REPOSITORY)}
            for python in blocks("python"):
                subprocess.run([sys.executable, "-c", python], cwd=folder, env=environment, check=True, timeout=120)
            for command in sorted(wanted, key=lambda command: "setup_demo" not in command):
                if " promote " in command:
                    install.shell(SECOND_VERSION)
                run(install, command, folder)
    finally:
        install.close()


SECOND_VERSION = """
import json, tempfile
from pathlib import Path
from django.core.files.storage import storages
from mlmodels import artifacts, registry
from mlmodels.management.base import await_check
from mlmodels.models import ModelVersion
old = ModelVersion.objects.get(model__slug="breast-cancer")
with tempfile.TemporaryDirectory() as name:
    manifest = json.loads(storages["artifacts"].open(old.manifest_sha256).read())
    manifest["trained_at"] = "2026-01-01T00:00:00+00:00"
    Path(name, "manifest.json").write_text(json.dumps(manifest))
    Path(name, "weights.safetensors").write_bytes(storages["artifacts"].open(old.weights_sha256).read())
    assert await_check(registry.register(artifacts.take_folder(Path(name)), by=None)).state == "healthy"
"""


def run(install: Install, command: str, folder: str) -> None:
    words = shlex.split(command)
    assert words[:2] == [".venv/bin/python", "manage.py"]
    words = [os.path.join(folder, word) if (Path(folder) / word).exists() else word for word in words[2:]]
    install.manage(*words)


def test_the_settings_table_names_every_variable_that_is_read_and_no_other() -> None:
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (REPOSITORY / "serving_site" / "settings.py").read_text()))
    read |= {"TORCH_INDEX", "DJANGO_SUPERUSER_USERNAME"}
    table = README.split("## Settings")[1].split("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([A-Z_]+)`", row)
    }
    assert read == {name for name in named if not name.startswith("_")}


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_every_picture_is_there(picture: str) -> None:
    assert (REPOSITORY / picture).read_bytes().startswith(b"\x89PNG")

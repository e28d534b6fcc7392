"""The lab's Docker engine, and its stand-ins: they keep the contracts of the images that they stand in for."""

import urllib.request
from pathlib import Path

import pytest

from tests.deploy.lab.engine import Docker
from tests.processes import wait_until

COMPOSE = """
services:
  postgres:
    image: postgres:15
    environment: {POSTGRES_USER: someone, POSTGRES_DB: some, POSTGRES_PASSWORD_FILE: /run/secrets/password}
    secrets: [password]
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1, -U, someone, -d, some], interval: 1s, retries: 30}
  rabbitmq:
    image: rabbitmq:3.13
    environment: {RABBITMQ_DEFAULT_USER: someone, RABBITMQ_DEFAULT_PASS: secret, RABBITMQ_DEFAULT_VHOST: some}
    healthcheck: {test: [CMD, rabbitmq-diagnostics, -q, check_port_connectivity], interval: 2s, retries: 30}
  nginx:
    image: nginx:1.28
    ports: ["8080:80"]
    environment: {ANSWER: built}
    volumes: ["./default.conf.template:/etc/nginx/templates/default.conf.template:ro"]
    depends_on: {postgres: {condition: service_healthy}, rabbitmq: {condition: service_healthy}}
secrets: {password: {file: ./password}}
"""


@pytest.fixture(scope="module")
def project(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose")
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / "password").write_text("pass word\n")
    (folder / "default.conf.template").write_text('server { listen 80; return 200 "$host ${ANSWER}\\n"; }\n')
    docker.run("compose", "up", "--detach", "--wait", "--pull", "never", folder=folder)
    return folder


def test_services_start_and_a_published_port_is_reached_at_the_engines_address(docker: Docker, project: Path) -> None:
    def answer() -> bytes:
        with urllib.request.urlopen(f"http://{docker.address}:8080/", timeout=10) as response:
            return bytes(response.read())

    assert answer() == f"{docker.address} built\n".encode()


def test_postgres_and_rabbitmq_have_what_their_variables_say(docker: Docker, project: Path) -> None:
    ask = "PGPASSWORD='pass word' psql -h postgres -U someone -d some -Atc 'select current_user, current_database()'"
    assert docker.run("compose", "exec", "-T", "postgres", "bash", "-c", ask, folder=project) == "someone|some\n"
    who = ("compose", "exec", "-T", "rabbitmq", "rabbitmqctl", "-q")
    assert docker.run(*who, "authenticate_user", "someone", "secret", folder=project)
    assert (
        docker.run(*who, "list_permissions", "-p", "some", "--no-table-headers", folder=project).split()[0] == "someone"
    )


def test_an_image_is_built_with_the_pinned_wheels(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM python:3.11-slim-bookworm\nRUN python -m venv /venv && /venv/bin/pip --quiet install django\n"
        'CMD ["/venv/bin/python", "-m", "django", "--version"]\n'
    )
    docker.run("build", "--tag", "probe", str(tmp_path))
    assert docker.run("run", "--rm", "probe").startswith("5.")


def test_a_stopped_project_ends_in_order(docker: Docker, project: Path) -> None:
    docker.run("compose", "stop", "--timeout", "20", folder=project)
    codes = docker.run("ps", "--all", "--format", "{{.Status}}").split("\n")
    wait_until(lambda: not docker.run("ps", "--quiet"), 10)
    assert all("(137)" not in code for code in codes)

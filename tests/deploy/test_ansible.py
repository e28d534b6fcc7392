"""Several machines by Ansible: played twice, changed, updated under load, taken back, and closed to everybody else."""

import socket

from tests.deploy.lab.cluster import Cluster
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.play import recap
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Load
from tests.processes import wait_until

DATABASE, BROKER, FILES = 5432, 5672, 8010
SECRETS = ("secret_key", "database_password", "broker_password")
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("open")
except TimeoutError:
    print("silent")
except OSError:
    print("refused")
"""


def seen_from(host: Host, address: str, port: int, user: str = "root") -> str:
    """What a process of `user` on `host` finds at a port: open, refused, silent."""
    return host.run(f"runuser -u {user} -- python3 - {address} {port}", stdin=KNOCK).strip()


def seen_from_outside(host: Host, *ports: int) -> list[bool]:
    """Which ports answer to a machine that is no part of the site."""
    answers = []
    for port in ports:
        try:
            socket.create_connection((host.address, port), timeout=2).close()
            answers.append(True)
        except OSError:
            answers.append(False)
    return answers


def release_of(host: Host) -> str:
    return host.run("basename $(readlink /srv/serving-site/current)").strip()


def worker_hosts(cluster: Cluster) -> set[str]:
    """The hosts whose workers answer for predictions now."""
    asked = "SELECT host FROM jobs_worker WHERE seen_at > now() - interval '5 s' AND queues::text LIKE '%infer%'"
    return {row[0] for row in cluster.rows(asked) if row[0]}


def test_a_second_play_changes_nothing_and_tells_no_secret(cluster: Cluster) -> None:
    assert sum(one["changed"] for one in cluster.first_recap.values()) > 0
    played = cluster.play.attempt("site.yml", "--diff", "-v")
    assert played.returncode == 0, played.stdout[-5000:]
    counts = recap(played.stdout)
    assert {host: (one["changed"], one["failed"]) for host, one in counts.items()} == {
        "production": (0, 0), "worker1": (0, 0), "development": (0, 0),
    }  # fmt: skip
    for name in SECRETS:
        secret = cluster.production.run(f"cat /etc/serving-site/secrets/{name}").strip()
        assert len(secret) == 64
        assert secret not in played.stdout + played.stderr


def test_secrets_are_for_root_alone_and_in_no_command_line(cluster: Cluster) -> None:
    kept = "/etc/serving-site/secrets/* /etc/serving-site/site.env /etc/serving-site/first-administrator"
    assert set(cluster.production.run(f"stat -c '%a %U' {kept}").splitlines()) == {"600 root"}
    for host in (cluster.production, cluster.worker, cluster.development):
        running = host.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        for name in SECRETS:
            assert cluster.production.run(f"cat /etc/serving-site/secrets/{name}").strip() not in running


def test_workers_reach_what_production_serves_them_and_nothing_else(cluster: Cluster) -> None:
    production, development = cluster.production.address, cluster.development.address
    found = {
        (address, port): seen_from(cluster.worker, address, port, "serving-site")
        for address, port in [
            (production, DATABASE), (production, BROKER), (production, FILES),
            (production, 22), (production, 443), (development, 22), (cluster.lab.gateway, 80),
        ]
    }  # fmt: skip
    assert list(found.values()) == ["open"] * 3 + ["refused"] * 4
    assert seen_from(cluster.worker, development, 22) == "open"


def test_strangers_find_ssh_and_the_site(cluster: Cluster) -> None:
    inner = (DATABASE, BROKER, FILES, 4369, 25672)
    assert seen_from_outside(cluster.production, 22, 80, 443) == [True] * 3
    assert seen_from_outside(cluster.production, *inner) == [False] * 5
    assert seen_from_outside(cluster.worker, 22) == [True]
    assert seen_from_outside(cluster.worker, 80, 443, *inner) == [False] * 7
    assert cluster.site.ready("/metrics")[0] == cluster.site.ready("/internal/files/artifacts/" + "0" * 64)[0] == 404


def test_a_worker_is_one_line_and_one_play_and_leaves_after_what_it_holds(cluster: Cluster) -> None:
    second = cluster.lab.host("worker2")
    cluster.play.groups["workers"].append(second)
    counts = cluster.play.run("site.yml")
    assert counts["worker1"]["changed"] == counts["development"]["changed"] == 0
    assert release_of(second) == release_of(cluster.production)
    wait_until(lambda: worker_hosts(cluster) == {"worker1", "worker2"}, 30, lambda: str(worker_hosts(cluster)))

    with Load(cluster.site, [cluster.person()], rate=8) as load:
        cluster.play.run("remove-worker.yml", "-e", "worker=worker1")
        served = len(load.accepted)
        wait_until(lambda: len(load.accepted) > served + 3, 30, "more predictions, for the worker that was added")
    assert load.failures == []
    assert load.outcomes() == {"succeeded": len(load.accepted)}
    assert worker_hosts(cluster) == {"worker2"}
    assert seen_from(cluster.worker, cluster.production.address, DATABASE) == "silent"

    cluster.play.groups["workers"].remove(second)
    cluster.play.run("site.yml")
    assert seen_from(second, cluster.production.address, BROKER) == "silent"
    second.stop()
    wait_until(lambda: worker_hosts(cluster) == {"worker1"}, 30, lambda: str(worker_hosts(cluster)))
    cluster.site.predict(cluster.admin)


def test_an_update_under_load_fails_no_request(cluster: Cluster, releases: Releases) -> None:
    commit = releases.good()
    with Load(cluster.site, [cluster.person(), cluster.person()], rate=10) as load:
        cluster.play.run("update.yml", "-e", f"release_archive={releases.archive(commit)}")
    assert load.failures == []
    assert load.outcomes() == {"succeeded": len(load.accepted)}
    hosts = (cluster.production, cluster.worker, cluster.development)
    assert [release_of(host) for host in hosts] == [commit[:12]] * 3
    assert "<!-- release on top of" in cluster.site.person("nobody", "").get("/accounts/login/").text


def test_every_host_goes_back_where_one_does_not_become_healthy(cluster: Cluster, releases: Releases) -> None:
    hosts = (cluster.production, cluster.worker, cluster.development)
    before = [release_of(host) for host in hosts]
    name = "serving_site/jobs/management/commands/runworker.py"
    stops = releases.read(name).replace("known = {", "raise SystemExit(3)\n        known = {", 1)
    commit = releases.commit({name: stops}, "Break workers, and workers alone")
    with Load(cluster.site, [cluster.person()], rate=8) as load:
        played = cluster.play.attempt("update.yml", "-e", f"release_archive={releases.archive(commit)}")
    assert played.returncode != 0
    assert f"{commit[:12]} is not healthy, and production went back to what ran before." in played.stdout
    assert "does not start" in played.stdout
    assert load.failures == []
    assert load.outcomes() == {"succeeded": len(load.accepted)}
    assert [release_of(host) for host in hosts] == before
    cluster.site.await_ready()

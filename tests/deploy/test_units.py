"""What the shipped units give their processes, on the machines of a session."""

from tests.deploy.lab.cluster import Cluster


def test_models_run_in_a_closed_sandbox(cluster: Cluster) -> None:
    """Each worker says in its heartbeat which level its executors reach; the units must not stand in their way."""
    levels = cluster.rows(
        "SELECT host, info->>'sandbox' FROM jobs_worker WHERE seen_at > now() - interval '10 seconds'"
    )
    assert sorted(levels) == [["development", "base+namespaces"], ["worker1", "base+namespaces"]]


def test_no_process_of_the_site_is_root_or_may_become_more_than_it_is(cluster: Cluster) -> None:
    for host in (cluster.production, cluster.worker, cluster.development):
        said = host.run(
            "for unit in $(systemctl list-units --plain --no-legend 'serving-site-*@*.service' | cut -d' ' -f1); do "
            'for pid in $(cat $(find /sys/fs/cgroup -path "*/$unit/cgroup.procs" | head -1)); do '
            "awk -v ORS=' ' '/^(Uid|CapBnd|NoNewPrivs):/ {print $2}' /proc/$pid/status; echo; done; done"
        )
        user = host.run("id -u serving-site").strip()
        found = {tuple(line.split()) for line in said.splitlines()}
        assert found == {(user, "0000000000000000", "1")}, host.name

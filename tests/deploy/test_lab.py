"""The lab itself: machines boot, are reached, restarted and cut off, and nothing of them stays."""

import subprocess
import sys

import pytest

from tests.deploy.lab.ground import Lab
from tests.deploy.lab.hosts import CommandFailed, Host

LANDLOCK_CREATE_RULESET = 444
ASK_VERSION = 1


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("probe")


def test_a_machine_is_a_bare_debian_that_has_started_fully(host: Host) -> None:
    assert host.settle() == "running"
    assert "bookworm" in host.run("cat /etc/os-release")
    assert host.attempt("command -v git nginx psql rabbitmqctl gcc").stdout == ""


def test_a_file_arrives_with_its_mode_and_owner(host: Host) -> None:
    host.put(b"\x00secret\n", "/etc/probe/file", mode="0600", owner="daemon:daemon")
    assert host.get("/etc/probe/file") == b"\x00secret\n"
    assert host.run("stat -c '%a %U %G' /etc/probe/file") == "600 daemon daemon\n"


def test_packages_come_from_debian_and_wheels_from_what_is_pinned(host: Host) -> None:
    host.run("apt-get -qq update && apt-get -qq install --yes --no-install-recommends python3-venv >/dev/null")
    host.run("python3 -m venv /tmp/probe && /tmp/probe/bin/pip --quiet install django")
    assert host.run("/tmp/probe/bin/python -m django --version").startswith("5.")


def test_its_processes_may_close_themselves_in_as_on_a_real_machine(host: Host) -> None:
    call = f"import ctypes; print(ctypes.CDLL(None).syscall({LANDLOCK_CREATE_RULESET}, None, 0, {ASK_VERSION}))"
    here = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True).stdout
    assert host.run(f"python3 -c '{call}'") == here


def test_a_failed_command_says_what_it_printed(host: Host) -> None:
    with pytest.raises(CommandFailed, match="probe: echo why >&2; exit 3 ended with 3:\nwhy"):
        host.run("echo why >&2; exit 3")


def test_what_is_on_its_disk_survives_a_reboot_and_a_power_cut(host: Host) -> None:
    host.run("echo kept > /root/kept; sync; echo lost > /run/lost")
    host.reboot()
    assert host.run("cat /root/kept; ls /run/lost 2>/dev/null || true") == "kept\n"
    host.kill()
    host.start()
    assert host.run("cat /root/kept") == "kept\n"


def test_an_unplugged_machine_runs_on_and_reaches_nobody(host: Host, lab: Lab) -> None:
    probe = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{lab.gateway}/3142' && echo reached || echo cut off"
    assert host.inside(probe) == "reached\n"
    host.unplug()
    try:
        assert host.inside(probe) == "cut off\n"
    finally:
        host.plug()
    assert host.run(probe) == "reached\n"

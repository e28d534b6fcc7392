"""A bare machine and the shipped user data: nothing else is done to it, and people can work with what comes up."""

import json
import os
import re
import time
import tomllib
from pathlib import Path

import cloud_config
import pytest
import settings_file

from deploy.local.ground import PATH
from tests.deploy.lab.ground import Lab
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.play import recap
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Site

DOMAIN = "models.example.org"
PASSWORD = "correct horse battery staple"
SOON_S = 300
SETTINGS = """
site_domain = "{domain}"
admin_email = "ann@example.org"
admin_name = "ann"
torch_index = ""
ssh_authorized_keys = ["{key}"]

[source]
repository = "git://{gateway}/clone"
ref = "main"
"""


class Installed:
    """The machine, booted from user data alone, and its site."""

    def __init__(self, lab: Lab, releases: Releases) -> None:
        folder = releases.clone.parent
        serve = ["git", "daemon", "--export-all", f"--base-path={folder}", f"--listen={lab.gateway}", str(folder)]
        lab.keeper.start(serve, env={"PATH": PATH, "HOME": str(folder)}, log=lab.folder / "git.log")
        key = lab.owners_key.with_suffix(".pub").read_text().strip()
        text = SETTINGS.format(domain=DOMAIN, key=key, gateway=lab.gateway)
        self.user_data = cloud_config.user_data(settings_file.check(tomllib.loads(text)), "single")
        self.release = releases.head[:12]
        began = time.monotonic()
        seed = {"user-data": self.user_data, "meta-data": "instance-id: i-one\n"}
        self.host: Host = lab.host("single", seed=seed)
        self.host.await_cloud_init(timeout_s=1200)
        self.site = Site(f"https://{DOMAIN}", self.host.address)
        self.site.await_ready()
        self.seconds, self.load = time.monotonic() - began, os.getloadavg()[1]
        self.secrets = self.host.run("cat /etc/serving-site/secrets/*").split()


@pytest.fixture(scope="module")
def installed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(lab, Releases(tmp_path_factory.mktemp("served")))


def test_the_machine_becomes_a_site_and_a_person_predicts_on_it_before_and_after_a_reboot(installed: Installed) -> None:
    host, site = installed.host, installed.site
    assert host.settle() == "running"
    link = re.search(r"https://\S+", host.run("cat /etc/serving-site/first-administrator"))
    assert link
    ann = site.set_password(link[0], "ann", PASSWORD)
    for model in ("breast-cancer", "diabetes-progression"):
        site.predict(ann, model)
    host.reboot()
    site.await_ready()
    assert host.settle() == "running"
    site.predict(ann)
    assert f"/srv/serving-site/releases/{installed.release}\n" == host.run("readlink -f /srv/serving-site/current")


def test_it_takes_less_than_five_minutes(installed: Installed) -> None:
    """As much more as this machine had more to do than it has processors for."""
    assert installed.seconds < SOON_S * max(1, installed.load / (1 + (os.cpu_count() or 1)))


def test_secrets_are_made_on_the_machine_and_stay_with_root(installed: Installed) -> None:
    host = installed.host
    assert len(installed.secrets) >= 3
    assert all(len(secret) >= 32 for secret in installed.secrets)
    looked_at = "/var/log /var/lib/cloud /run/cloud-init /usr/local/src /srv/serving-site/releases"
    host.put("\n".join(installed.secrets), "/root/secrets", mode="0600")
    assert (
        host.run(f"grep --recursive --files-with-matches --fixed-strings --file=/root/secrets {looked_at} || true")
        == ""
    )
    assert host.run("journalctl --quiet | grep --count --fixed-strings --file=/root/secrets || true") == "0\n"
    host.run("rm /root/secrets")
    open_to_others = host.run("find /etc/serving-site -type f -perm /077 -print").split()
    assert {Path(name).name for name in open_to_others} & {"site.env", "first-administrator", "settings.json"} == set()
    assert not [name for name in open_to_others if "secrets" in name or name.endswith("key.pem")]


def test_running_the_installer_again_changes_nothing(installed: Installed) -> None:
    said = installed.host.run("serving-site-install", timeout_s=600)
    assert recap(said)["localhost"]["changed"] == 0, said
    assert installed.site.ready()[0] == 200


def test_the_renderers_lists_are_those_of_this_cloud_init(installed: Installed) -> None:
    schema = "/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
    definitions = json.loads(installed.host.get(schema))["$defs"].values()
    known = {key for one in definitions for key in one.get("properties", {})}
    assert set(cloud_config.TOP_KEYS) - known == {"output"}  # which its schema leaves to its log module
    entry = json.loads(installed.host.get(schema))["$defs"]["cc_write_files"]["properties"]["write_files"]["items"]
    assert set(cloud_config.FILE_KEYS) == set(entry["properties"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("timezone: Europe/Berlin", "every key is known"),
        ("timezone: [1]", "cloud-init refuses"),
        ("timezon: x", "timezon;"),
    ],
)
def test_user_data_edited_by_hand_is_checked_where_cloud_init_is(installed: Installed, line: str, says: str) -> None:
    installed.host.put(installed.user_data + f"{line}\n", "/tmp/user-data")
    render = "/usr/local/src/serving-site/code/deploy/cloud-init/render.py"
    done = installed.host.attempt(f"{render} --check /tmp/user-data")
    assert says in done.stderr
    assert done.returncode == (0 if "known" in says else 1)

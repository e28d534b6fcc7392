"""From one command to a live site: the launcher, an EC2 that keeps what it is told, and machines that boot from it.

The API is moto's. A machine starts when the launcher has asked for one, at the address that the API gave it; its own
cloud-init fetches the user data that was sent, from a metadata service.
"""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloud_config
import pytest
import settings_file

from deploy.aws.fleet import Fleet, name_of
from deploy.local.ground import PATH
from tests.aws import Moto
from tests.deploy.lab.ground import Lab
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.metadata import Instance
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Site
from tests.processes import wait_until
from tests.session import GROUND, REPOSITORY

DOMAIN = "classifier.example.com"
PASSWORD = "a password that nobody guesses"
HTTP_PORT = 8099
SETTINGS = """
site_domain = "{domain}"
admin_email = "bea@example.com"
admin_name = "bea"
torch_index = ""
demo_models = true
ssh_authorized_keys = ["{key}"]

[source]
archive = "http://{gateway}:{port}/{archive}"
sha256 = "{sha256}"
"""


class Region:
    """A region with one network of private addresses, which is a part of the lab's."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.moto = Moto(GROUND)
        self.subnet = self.moto.subnet(f"{lab.address(128)}/25")
        archive = Releases(folder).archive()
        serve = [sys.executable, "-m", "http.server", "--bind", lab.gateway, "--directory", str(archive.parent)]
        lab.keeper.start([*serve, str(HTTP_PORT)], env={"PATH": PATH}, log=lab.folder / "archives.log")
        self.settings = folder / "site.toml"
        self.settings.write_text(
            SETTINGS.format(
                domain=DOMAIN, key=lab.owners_key.with_suffix(".pub").read_text().strip(), gateway=lab.gateway,
                port=HTTP_PORT, archive=archive.name, sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            )
        )  # fmt: skip

    def launch(self, *argv: str) -> subprocess.Popen[str]:
        """The launcher as a person starts it."""
        more = ["--settings", str(self.settings), "--subnet", self.subnet, "--ssh-from", self.lab.network]
        argv = (*argv, *([] if argv[0] == "terminate" else more))
        return subprocess.Popen(
            [sys.executable, REPOSITORY / "deploy" / "aws" / "launch.py", *argv],
            env={"PATH": PATH, "HOME": str(self.folder), "LANG": "C.UTF-8", **self.moto.environment},
            cwd=self.folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def machines(self, name: str) -> dict[str, dict[str, Any]]:
        return {name_of(one): one for one in Fleet(self.moto.ec2, name).instances()}

    def boot(self, name: str, machine: dict[str, Any]) -> Host:
        """Switch on what the launcher has asked for, as EC2 would."""
        attribute = {"InstanceId": machine["InstanceId"], "Attribute": "userData"}
        sent = self.moto.ec2.describe_instance_attribute(**attribute)["UserData"]["Value"]
        [pair] = self.moto.ec2.describe_key_pairs(KeyNames=[machine["KeyName"]], IncludePublicKey=True)["KeyPairs"]
        instance = Instance(
            base64.b64decode(sent), machine["InstanceId"], public_key=pair["PublicKey"], image=machine["ImageId"],
            type=machine["InstanceType"], hostname=machine["PrivateDnsName"],
        )  # fmt: skip
        return self.lab.host(name, instance=instance, address=machine["PrivateIpAddress"])


@pytest.fixture(scope="module")
def region(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Region:
    return Region(lab, tmp_path_factory.mktemp("region"))


def ended(launcher: subprocess.Popen[str], timeout_s: float = 300) -> tuple[int, str, str]:
    out, said = launcher.communicate(timeout=timeout_s)
    return launcher.returncode, out, said


def test_one_command_ends_with_the_address_of_a_live_site(region: Region) -> None:
    launcher = region.launch("single", "classifier", "--timeout", "1200")
    try:
        wait_until(lambda: "classifier" in region.machines("classifier"), 60, "an instance")
        machine = region.machines("classifier")["classifier"]
        host = region.boot("classifier", machine)
        host.await_cloud_init(timeout_s=1200)
        assert ended(launcher)[:2] == (0, f"{machine['PrivateIpAddress']}\n")
    finally:
        launcher.kill()
    rendered = cloud_config.user_data(settings_file.read(region.settings), "single")
    assert host.get("/var/lib/cloud/instance/user-data.txt").decode() == rendered
    assert host.run("cloud-init query instance_id").strip() == machine["InstanceId"]
    assert host.run("sudo id --user", user="debian") == "0\n"

    site = Site(f"https://{DOMAIN}", host.address)
    said = host.run("cat /etc/serving-site/first-administrator")
    link = next(word for word in said.split() if word.startswith("https://"))
    site.predict(site.set_password(link, "bea", PASSWORD))

    host.run(f"sed --in-place 's/^SHA256=.*/SHA256={'0' * 64}/' /etc/serving-site/source.conf")
    other = host.attempt("serving-site-install")
    assert "release.tar.gz: FAILED" in other.stdout + other.stderr
    assert other.returncode != 0

    again = ended(region.launch("single", "classifier", "--timeout", "240"))
    assert again[:2] == (0, f"{machine['PrivateIpAddress']}\n")
    assert "Every machine is there." in again[2]
    unanswered = ended(region.launch("terminate", "classifier"))
    assert (unanswered[0], unanswered[2].splitlines()[-1]) == (1, "Nothing was taken away.")
    assert ended(region.launch("terminate", "classifier", "--yes"))[0] == 0
    assert region.machines("classifier") == {}


def test_a_clusters_inventory_leads_ansible_to_every_machine_as_root(region: Region) -> None:
    folder = region.folder / "machines"
    launcher = region.launch("cluster", "lot", "--timeout", "300", "--inventory", str(folder), "--inventory-only")
    try:
        wait_until(lambda: len(region.machines("lot")) == 3, 60, "three instances")
        for name, machine in region.machines("lot").items():
            region.boot(name, machine)
        status, out, said = ended(launcher)
    finally:
        launcher.kill()
    assert (status, out) == (0, ""), said
    assert "ansible-playbook" in said
    facts = ansible(region, folder, "all", "--become", "--module-name=command", "--args=hostname")
    assert sorted(line.split(" | ")[0] for line in facts.splitlines() if " | CHANGED" in line) == sorted(
        region.machines("lot")
    )
    assert sorted(line for line in facts.splitlines() if " | " not in line) == sorted(region.machines("lot"))
    groups = json.loads(
        ansible(region, folder, "localhost", "--module-name=debug", "--args=var=groups").partition("=>")[2]
    )
    assert groups["groups"]["workers"] == ["lot-worker-1"]
    domain = ansible(region, folder, "workers", "--module-name=debug", "--args=var=site_domain")
    assert DOMAIN in domain


def ansible(region: Region, folder: Path, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "--inventory", folder / "hosts.yml", *argv],
        cwd=REPOSITORY / "deploy" / "ansible", capture_output=True, text=True, check=False,
        env={"PATH": PATH, "HOME": str(region.folder), "LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_PRIVATE_KEY_FILE": str(region.lab.owners_key)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""The EC2 launcher against a real server of the EC2 API: what it makes, what it refuses, what it takes away."""

import base64
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import cloud_config
import pytest
import yaml
from settings_file import read

from deploy.aws import choices, fleet, health, inventory, launch
from deploy.aws.fleet import Fleet
from deploy.local.ground import free_ports
from tests.aws import Moto
from tests.session import GROUND, REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "cloud-init" / "settings.example.toml"
LOOPBACK = "127.0.0.0/24"
"""Machines of the tests have addresses here: what the launcher waits for is on this machine, and is not there."""


class Done(NamedTuple):
    status: int
    out: str
    said: list[str]


class Account:
    """An account of its own with one network, and the launcher as a person at a terminal uses it."""

    def __init__(self, moto: Moto, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.ec2 = moto.ec2
        self.subnet = moto.subnet(LOOPBACK)
        self.settings = settings
        self._capsys = capsys
        self.before = self.everything()

    def run(self, *argv: str) -> Done:
        more = ["--settings", str(self.settings), "--subnet", self.subnet, "--timeout", "0"]
        self._capsys.readouterr()
        status = launch.main([*argv, *(more if argv[0] in choices.RELEASES else [])])
        said = self._capsys.readouterr()
        return Done(status, said.out, said.err.splitlines())

    def printed(self) -> str:
        return self._capsys.readouterr().err

    def everything(self) -> set[str]:
        """The ids of all that the account holds."""
        instances = [i for r in self.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        return {
            *(i["InstanceId"] for i in instances if i["State"]["Name"] != "terminated"),
            *(group["GroupId"] for group in self.ec2.describe_security_groups()["SecurityGroups"]),
            *(pair["KeyName"] for pair in self.ec2.describe_key_pairs()["KeyPairs"]),
            *(volume["VolumeId"] for volume in self.ec2.describe_volumes()["Volumes"]),
        }

    def machines(self, name: str) -> dict[str, Any]:
        return {fleet.name_of(one): one for one in Fleet(self.ec2, name).instances()}

    def doors(self, name: str) -> dict[str, set[tuple[int, str]]]:
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        names = {group["GroupId"]: group["GroupName"] for group in groups}
        return {
            group["GroupName"]: {(one[1], names.get(one[3], one[3])) for one in fleet.rules_of(group["IpPermissions"])}
            for group in Fleet(self.ec2, name).groups()
        }


@pytest.fixture(scope="module")
def moto() -> Moto:
    return Moto(GROUND)


@pytest.fixture
def account(
    moto: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    settings = tmp_path / "site.toml"
    settings.write_text(EXAMPLE.read_text())
    monkeypatch.chdir(tmp_path)
    yield Account(moto, settings, capsys)
    moto.reset()


WEB = {(port, network) for port in (80, 443) for network in ("0.0.0.0/0", "::/0")}
HOME = "203.0.113.4/32"


def test_a_dry_run_says_what_would_be_and_makes_nothing(account: Account) -> None:
    done = account.run("single", "models", "--ssh-from", HOME, "--dry-run")
    size = len(cloud_config.user_data(read(account.settings), "single").encode())
    assert done == Done(0, "", [
        f"Security group models-site: open 22 from {HOME}, 80 from anywhere, 443 from anywhere",
        f"Instance models: t3.medium, ami-0debian12202601012, 30 GB encrypted, {size} bytes of user data",
        "Dry run: EC2 would start such machines, and nothing was made.",
    ])  # fmt: skip
    assert account.everything() == account.before


def test_a_machine_is_closed_but_for_the_web_and_what_it_holds_is_encrypted(account: Account) -> None:
    done = account.run("single", "models")
    machine = account.machines("models")["models"]
    health_page = f"https://{machine['PrivateIpAddress']}/readyz?full"
    assert done.status == 1
    assert done.said[-1] == f"{health_page} is not there after 0 s: no answer (ConnectionRefusedError)."
    assert account.doors("models") == {"models-site": WEB}
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert machine["ImageId"] == "ami-0debian12202601012"
    [disk] = machine["BlockDeviceMappings"]
    [volume] = account.ec2.describe_volumes(VolumeIds=[disk["Ebs"]["VolumeId"]])["Volumes"]
    assert (volume["Encrypted"], volume["Size"], disk["Ebs"]["DeleteOnTermination"]) == (True, 30, True)
    for found in (machine, volume):
        tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        assert (tags["Name"], tags["serving-site"]) == ("models", "models")
    [pair] = account.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert (machine["KeyName"], pair["KeyName"]) == ("models", "models")
    assert pair["PublicKey"].split()[:2] == read(account.settings).ssh_authorized_keys[0].split()[:2]


def test_the_machine_gets_the_very_bytes_that_the_renderer_prints(account: Account) -> None:
    account.run("single", "models")
    machine = account.machines("models")["models"]
    kept = account.ec2.describe_instance_attribute(InstanceId=machine["InstanceId"], Attribute="userData")
    rendered = subprocess.run(
        [sys.executable, REPOSITORY / "deploy" / "cloud-init" / "render.py", account.settings],
        capture_output=True, check=True,
    )  # fmt: skip
    assert base64.b64decode(kept["UserData"]["Value"]) == rendered.stdout


def test_a_second_launch_makes_nothing_and_mends_what_is_open(account: Account) -> None:
    account.run("single", "models", "--ssh-from", HOME)
    made = account.everything()
    assert account.doors("models") == {"models-site": {*WEB, (22, HOME)}}
    done = account.run("single", "models", "--ssh-from", "198.51.100.0/24")
    assert "Every machine is there." in done.said
    assert account.everything() == made
    assert account.doors("models") == {"models-site": {*WEB, (22, "198.51.100.0/24")}}


def test_a_machine_that_has_other_user_data_or_is_stopped_is_told_of(account: Account) -> None:
    account.run("single", "models")
    account.settings.write_text(EXAMPLE.read_text().replace("ann@example.org", "bob@example.org"))
    assert (
        "models was started with other user data, which counts at the first start alone."
        in account.run("single", "models").said
    )
    account.ec2.stop_instances(InstanceIds=[account.machines("models")["models"]["InstanceId"]])
    assert account.run("single", "models")[::2] == (
        1, ["models is there and stopped: start it, or terminate models first."],
    )  # fmt: skip


def test_a_cluster_opens_its_inside_to_its_own_machines_alone(account: Account) -> None:
    account.run("cluster", "models", "--ssh-from", HOME, "--workers", "2")
    names = ["models-development", "models-production", "models-worker-1", "models-worker-2"]
    assert sorted(account.machines("models")) == names
    inside = {(port, group) for port in (5432, 5672, 8010) for group in ("models-worker", "models-development")}
    assert account.doors("models") == {
        "models-production": {*WEB, (22, HOME), *inside, (22, "models-development")},
        "models-worker": {(22, HOME)},
        "models-development": {(22, HOME)},
    }
    account.run("cluster", "models", "--ssh-from", HOME, "--workers", "3")
    assert sorted(account.machines("models")) == [*names, "models-worker-3"]
    assert (
        account.run("cluster", "models", "--ssh-from", HOME)
        .said[-1]
        .startswith("Under the name models there is also models-worker-2, models-worker-3, which was not asked for")
    )


def test_the_inventory_names_each_machine_with_both_its_addresses(account: Account, tmp_path: Path) -> None:
    account.run("cluster", "models", "--ssh-from", HOME)
    machines = account.machines("models")
    path = inventory.write(tmp_path / "inventory", list(machines.values()), read(account.settings))
    written = yaml.safe_load(path.read_text())
    addresses = {name: machine["PrivateIpAddress"] for name, machine in machines.items()}
    assert {group: list(written[group]["hosts"]) for group in ("production", "workers", "development")} == {
        "production": ["models-production"], "workers": ["models-worker-1"], "development": ["models-development"],
    }  # fmt: skip
    for group in ("production", "workers", "development"):
        for name, host in written[group]["hosts"].items():
            assert host == {"ansible_host": addresses[name], "private_address": addresses[name]}
    variables = yaml.safe_load((path.parent / "group_vars" / "all" / "launch.yml").read_text())
    assert variables == {"site_domain": "models.example.org", "admin_email": "ann@example.org"}


REFUSALS = [
    (["single", "models", "--image", "ami-1"], "There is no image ami-1 in this region that this account may use."),
    (["single", "models", "--key", "mine"], "There is no key pair mine in this region; there is none."),
    (["single", "models", "--instance-type", "t9.huge"], "There is no instance type t9.huge in this region."),
    (["single", "models", "--subnet", "subnet-1"], "There is no subnet subnet-1 in this region."),
    (["single", "models", "--instance-type", "t4g.small"],
     "Debian publishes no image debian-12-arm64-* in this region: name one with --image."),
    (["cluster", "models"],
     "A cluster is set up over SSH: --ssh-from NETWORK says from where, such as 203.0.113.4/32."),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "sentence"), REFUSALS, ids=[argv[-1] for argv, _ in REFUSALS])
def test_what_is_not_there_is_refused_before_anything_is_made(account: Account, argv: list[str], sentence: str) -> None:
    subnet = argv[argv.index("--subnet") + 1] if "--subnet" in argv else account.subnet
    account.subnet = subnet
    assert account.run(*argv) == Done(1, "", [sentence])
    assert account.everything() == account.before


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--workers", "0", "argument --workers: '0'; expected 1 or more"),
        (
            "--ssh-from",
            "home",
            "argument --ssh-from: 'home' does not appear to be an IPv4 or IPv6 network; expected a network",
        ),
    ],
)
def test_a_wrong_option_is_a_sentence(account: Account, option: str, value: str, sentence: str) -> None:
    with pytest.raises(SystemExit):
        account.run("cluster", "models", option, value)
    assert sentence in account.printed()


def test_user_data_that_ec2_would_refuse_is_refused_before_anything_is_made(account: Account) -> None:
    with account.settings.open("a") as file:
        file.write(f'[cloud_config]\nfinal_message = "{"x" * 16_384}"\n')
    done = account.run("single", "models")
    assert (done.status, done.said[0].partition(" bytes; ")[2].partition(", ")[0]) == (1, "expected at most 16384")
    assert account.everything() == account.before


@pytest.mark.parametrize("kind", ["key pair", "security group"])
def test_what_somebody_else_made_under_the_name_is_left_alone(account: Account, kind: str) -> None:
    if kind == "key pair":
        account.ec2.create_key_pair(KeyName="models")
    else:
        vpc = account.ec2.describe_subnets(SubnetIds=[account.subnet])["Subnets"][0]["VpcId"]
        account.ec2.create_security_group(GroupName="models-site", Description="mine", VpcId=vpc)
    before = account.everything()
    done = account.run("single", "models")
    assert done.status == 1
    assert done.said[-1].startswith(f"There is a {kind} models")
    account.run("terminate", "models", "--yes")
    assert account.everything() == before


def test_terminate_takes_away_what_was_made_under_the_name_and_nothing_else(account: Account) -> None:
    account.run("single", "other")
    others = account.everything()
    account.run("cluster", "models", "--ssh-from", HOME)
    assert len(account.everything() - others) == 3 + 3 + 3 + 1  # machines, disks, groups, a key pair
    dry = account.run("terminate", "models", "--dry-run")
    assert (dry.status, len(dry.said)) == (0, 3 + 3 + 1)
    assert account.run("terminate", "models", "--yes").said[-1] == "models is gone."
    assert account.everything() == others
    assert account.run("terminate", "models") == Done(0, "", ["There is nothing under the name models."])


def test_terminate_asks_first(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.run("single", "models")
    made = account.everything()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert account.run("terminate", "models").said[-1] == "Nothing was taken away."
    assert account.everything() == made
    monkeypatch.setattr("builtins.input", lambda _: "models")
    assert account.run("terminate", "models").status == 0
    assert account.everything() == account.before


def test_status_shows_the_machines_of_a_name(account: Account) -> None:
    assert account.run("status", "models") == Done(1, "", ["There is no machine under the name models."])
    account.run("single", "models")
    account.run("single", "other")
    machine = account.machines("models")["models"]
    [row] = yaml.safe_load(account.run("status", "models", "--json").out)
    assert (row["name"], row["id"], row["state"]) == ("models", machine["InstanceId"], "running")


def test_no_credentials_and_no_answer_are_sentences(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    [said] = account.run("status", "models").said
    assert said.startswith("Could not connect to the endpoint URL")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which remembers credentials
    [said] = account.run("status", "models").said
    assert said == "Unable to locate credentials. Set AWS_PROFILE, or log in with `aws configure` or `aws sso login`."


class Answers(BaseHTTPRequestHandler):
    """A site that comes up: not yet, then not all of it, then whole."""

    bodies = [
        (502, b"<html>"),
        (503, b'{"checks": {"database": "ok"}, "behind": {"workers": "none answers"}}'),
        (200, b"{}"),
    ]
    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        status, body = self.bodies[min(len(self.asked), 2)]
        self.asked.append((self.path, self.headers["Host"]))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def coming_up(tmp_path: Path) -> Iterator[str]:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-noenc", "-subj", "/CN=x", *files], check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_wait_ends_when_the_whole_site_answers_and_says_what_it_saw(
    coming_up: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "PAUSE_S", 0.01)
    health.wait_for_site(coming_up, "models.example.org", timeout_s=20)
    assert capsys.readouterr().err.splitlines() == [
        f"Waiting for https://{coming_up}/readyz?full: status 502",
        f"Waiting for https://{coming_up}/readyz?full: status 503 (workers: none answers)",
    ]
    assert Answers.asked == [("/readyz?full", "models.example.org")] * 3

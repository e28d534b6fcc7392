#!/usr/bin/env python3
"""Start a site on EC2: on one machine, with Docker, or as a cluster that Ansible sets up."""

import argparse
import ipaddress
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "deploy" / "cloud-init")]
sys.dont_write_bytecode = True
try:
    import boto3
    import cloud_config
    from botocore.exceptions import BotoCoreError, ClientError
    from settings_file import Refused, Settings, read

    from deploy.aws import choices, fleet, health, inventory, machines
    from deploy.aws.fleet import Fleet, Shape
    from deploy.aws.machines import Machine
    from deploy.aws.words import code_of, sentence
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install -r requirements/deploy.txt")


EXAMPLES = """
examples:
  deploy/aws/launch.py single models --settings site.toml --dry-run
  deploy/aws/launch.py single models --settings site.toml --ssh-from 203.0.113.4/32
  deploy/aws/launch.py cluster models --settings site.toml --ssh-from 203.0.113.4/32 --workers 3
  deploy/aws/launch.py status models --json
  deploy/aws/launch.py terminate models

Credentials are boto3's own: AWS_PROFILE, `aws sso login`, or the role of the machine. None is written anywhere.
Run it again at any time: what is there under the name stays, what is missing is made.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 if the site answers (or stands, or is gone), else 1 and a sentence."""
    options = parser().parse_args(argv)
    try:
        ec2 = boto3.client("ec2", region_name=options.region)
        verbs = {"status": status, "terminate": terminate}
        return verbs.get(options.verb, launch)(Fleet(ec2, options.name), options)
    except Refused as error:
        print(error, file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(sentence(error), file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"Interrupted. What is made stays: `status {options.name}` shows it.", file=sys.stderr)
    return 1


def launch(here: Fleet, options: argparse.Namespace) -> int:
    """Make what is missing, wait until the site answers, print its address."""
    settings = read(options.settings)
    public_keys = settings.ssh_authorized_keys
    machines.refuse_closed(options.verb, options.ssh_from, public_keys)
    wanted = machines.machines(options.verb, here.name, options.workers, options.development)
    user_data = {machine.name: user_data_of(machine, settings, options.verb) for machine in wanted}
    shape = choices.shape(here.ec2, options.verb, options)
    running = {fleet.name_of(instance): instance for instance in here.instances()}
    refuse_others(here, running, user_data)
    missing = [machine for machine in wanted if machine.name not in running]
    doors = machines.doors(here.name, wanted, options.ssh_from)
    explain(shape, missing, doors, user_data)
    if options.dry_run:
        return dry_run(here, shape, user_data[wanted[0].name])
    if not shape.key_name and public_keys:
        shape = replace(shape, key_name=here.ensure_key_pair(public_keys[0]))
    groups = here.ensure_groups(doors, shape.vpc)
    for machine in missing:
        here.start(machine, shape, groups[machines.group_name(here.name, machine.does)], user_data[machine.name])
    return follow(here, settings, options, wanted)


def user_data_of(machine: Machine, settings: Settings, way: str) -> str:
    """What cloud-init does on a machine; those of a cluster wait for Ansible. Raises Refused."""
    if way == "cluster":
        return cloud_config.node_user_data(settings, machine.name)
    return cloud_config.user_data(settings, way)


def refuse_others(here: Fleet, running: dict[str, Any], user_data: dict[str, str]) -> None:
    """What runs under this name must be what was asked for now."""
    if others := running.keys() - user_data.keys():
        raise Refused(
            f"Under the name {here.name} there is also {', '.join(sorted(others))}, which was not asked for: "
            "ask for the same machines, or terminate them first."
        )
    for name, instance in running.items():
        state = instance["State"]["Name"]
        if state not in {"pending", "running"}:
            raise Refused(f"{name} is there and {state}: start it, or terminate {here.name} first.")
        if here.user_data(instance) != user_data[name]:
            print(f"{name} was started with other user data, which counts at the first start alone.", file=sys.stderr)


def explain(shape: Shape, missing: Sequence[Machine], doors: dict[str, Any], user_data: dict[str, str]) -> None:
    """Say what this makes, before it is made."""
    for group, opened in doors.items():
        ports = ", ".join(dict.fromkeys(str(door) for door in opened)) or "nothing"
        print(f"Security group {group}: open {ports}", file=sys.stderr)
    for machine in missing:
        print(
            f"Instance {machine.name}: {shape.instance_type}, {shape.image}, {shape.disk_gb} GB encrypted, "
            f"{len(user_data[machine.name].encode())} bytes of user data",
            file=sys.stderr,
        )
    if not missing:
        print("Every machine is there.", file=sys.stderr)


def dry_run(here: Fleet, shape: Shape, user_data: str) -> int:
    """Ask EC2 whether it would; nothing is made."""
    try:
        here.ec2.run_instances(**fleet.request(shape, user_data), DryRun=True)
    except ClientError as error:
        if code_of(error) != "DryRunOperation":
            raise
    print("Dry run: EC2 would start such machines, and nothing was made.", file=sys.stderr)
    return 0


def follow(here: Fleet, settings: Settings, options: argparse.Namespace, wanted: Sequence[Machine]) -> int:
    """From machines that start to a site that answers."""
    ids = fleet.ids_of(here.instances())
    here.ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 2, "MaxAttempts": 150})
    instances = {fleet.name_of(one): one for one in here.instances()}
    if options.verb == "cluster":
        for instance in instances.values():
            health.wait_for_ssh(fleet.address_of(instance), options.timeout)
        folder = options.inventory or Path(f"{here.name}-inventory")
        hosts = inventory.write(folder, list(instances.values()), settings)
        command = f"cd deploy/ansible && ansible-playbook --inventory {hosts.absolute()} site.yml"
        if options.inventory_only:
            print(f"The inventory is written. Next: {command}", file=sys.stderr)
            return 0
        play = [sys.executable, "-m", "ansible", "playbook", "--inventory", str(hosts.absolute()), "site.yml"]
        if subprocess.run(play, cwd=REPOSITORY / "deploy" / "ansible", check=False).returncode:
            raise Refused(f"Ansible failed. Mend what it says, then run this again or: {command}")
    address = fleet.address_of(instances[wanted[0].name])
    domain = str(settings.variables["site_domain"])
    health.wait_for_site(address, domain, options.timeout)
    print(f"The site answers at {address}. Point {domain} there; the first administrator's link is on the machine, for "
          "root alone, in /etc/serving-site/first-administrator.", file=sys.stderr)  # fmt: skip
    print(address)
    return 0


def status(here: Fleet, options: argparse.Namespace) -> int:
    """Show the machines of a name; 1 if there is none."""
    rows = [
        {
            "name": fleet.name_of(instance),
            "id": instance["InstanceId"],
            "state": instance["State"]["Name"],
            "type": instance["InstanceType"],
            "address": fleet.address_of(instance),
            "private_address": instance.get("PrivateIpAddress", ""),
            "since": instance["LaunchTime"].isoformat(),
        }
        for instance in here.instances()
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['name']:<24} {row['state']:<10} {row['type']:<12} {row['address']:<16} {row['id']}")
    if not rows:
        print(f"There is no machine under the name {here.name}.", file=sys.stderr)
    return 0 if rows else 1


def terminate(here: Fleet, options: argparse.Namespace) -> int:
    """Take away what was made under a name, after a question."""
    doomed = [
        *(f"instance {fleet.name_of(one)} ({one['InstanceId']}) with its disk" for one in here.instances()),
        *(f"security group {group['GroupName']}" for group in here.groups()),
        *(f"disk {volume}" for volume in here.volumes()),
        *(f"key pair {pair}" for pair in here.key_pairs()),
    ]
    if not doomed:
        print(f"There is nothing under the name {here.name}.", file=sys.stderr)
        return 0
    print(*doomed, sep="\n", file=sys.stderr)
    if options.dry_run:
        return 0
    if not options.yes and answer(f"All of this goes, with every prediction. Type {here.name} to go on: ") != here.name:
        raise Refused("Nothing was taken away.")
    here.terminate()
    print(f"{here.name} is gone.", file=sys.stderr)
    return 0


def answer(question: str) -> str:
    """What somebody typed; empty where nobody is there."""
    try:
        return input(question)
    except EOFError:
        return ""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="deploy/aws/launch.py", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, about in {
        "single": "one Debian 12 machine with everything, by cloud-init",
        "compose": "one Debian 13 machine with Docker, by cloud-init",
        "cluster": "production, workers and development, by Ansible from here",
        "status": "what is there under a name",
        "terminate": "take away what was made under a name, and nothing else",
    }.items():
        one = verbs.add_parser(verb, help=about, description=about)
        one.add_argument("name", type=name, metavar="NAME", help="small letters, digits, hyphens; tags carry it")
        one.add_argument("--region", help="default: AWS_DEFAULT_REGION, or that of your profile")
        if verb != "status":
            one.add_argument("--dry-run", action="store_true", help="say what would be, do nothing")
        if verb in choices.RELEASES:
            add_launch_options(one)
    verbs.choices["status"].add_argument("--json", action="store_true", help="for programs")
    verbs.choices["terminate"].add_argument("--yes", action="store_true", help="do not ask")
    return made


def add_launch_options(one: argparse.ArgumentParser) -> None:
    """What can be chosen for machines; those of a cluster alone are ignored by the other ways."""
    one.add_argument("--settings", type=Path, required=True, help="as deploy/cloud-init/settings.example.toml")
    one.add_argument("--instance-type", default="t3.medium", help="(%(default)s)")
    one.add_argument("--image", help="default: Debian's newest")
    one.add_argument("--disk-gb", type=count, default=30, help="(%(default)s)")
    one.add_argument("--key", help="a key pair that is there; default: made of the first of ssh_authorized_keys")
    one.add_argument("--subnet", help="default: one of the account's default network")
    one.add_argument("--ssh-from", action="append", default=[], type=network, metavar="NETWORK",
                     help="who may reach the port of SSH, such as 203.0.113.4/32; default: nobody")  # fmt: skip
    one.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="how long to wait (%(default)s)")
    one.add_argument("--workers", type=count, default=1, help="cluster: how many worker machines (%(default)s)")
    one.add_argument("--no-development", dest="development", action="store_false", help="cluster: train on a worker")
    one.add_argument("--inventory", type=Path, metavar="FOLDER", help="cluster: default NAME-inventory")
    one.add_argument("--inventory-only", action="store_true", help="cluster: write the inventory, run no playbook")


def name(given: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9-]{0,39}", given):
        raise argparse.ArgumentTypeError(f"{given!r}; expected up to 40 small letters, digits and hyphens")
    return given


def count(given: str) -> int:
    if not given.isdecimal() or int(given) == 0:
        raise argparse.ArgumentTypeError(f"{given!r}; expected 1 or more")
    return int(given)


def network(given: str) -> str:
    try:
        return str(ipaddress.ip_network(given))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected a network such as 203.0.113.4/32") from None


if __name__ == "__main__":
    sys.exit(main())

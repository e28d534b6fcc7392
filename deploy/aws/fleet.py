"""What stands in EC2 under one name. Everything made here carries the tag `serving-site` with that name.

There is no file of state: the tag says what is there, so that a second launch finds the first one's machines, and
`terminate` takes away what a launch made and nothing else.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from settings_file import Refused

from deploy.aws.machines import Door, Machine
from deploy.aws.words import code_of

TAG = "serving-site"
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
Ec2 = Any
"""boto3 makes its clients at run time; they have no types."""


@dataclass(frozen=True)
class Shape:
    """What an instance is made of."""

    image: str
    root_device: str
    instance_type: str
    disk_gb: int
    key_name: str
    subnet: str
    vpc: str


class Fleet:
    """The machines, security groups and the key pair of one name."""

    def __init__(self, ec2: Ec2, name: str) -> None:
        self.ec2 = ec2
        self.name = name
        self._mine = [{"Name": f"tag:{TAG}", "Values": [name]}]

    def instances(self) -> list[dict[str, Any]]:
        """Those that are not terminated, by name."""
        alive = [*self._mine, {"Name": "instance-state-name", "Values": list(ALIVE)}]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=alive)
        found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
        return sorted(found, key=name_of)

    def groups(self) -> list[dict[str, Any]]:
        pages = self.ec2.get_paginator("describe_security_groups").paginate(Filters=self._mine)
        return [group for page in pages for group in page["SecurityGroups"]]

    def key_pairs(self) -> list[str]:
        return [str(pair["KeyName"]) for pair in self.ec2.describe_key_pairs(Filters=self._mine)["KeyPairs"]]

    def volumes(self) -> list[str]:
        """Disks that no instance holds any more."""
        free = [*self._mine, {"Name": "status", "Values": ["available"]}]
        return [str(volume["VolumeId"]) for volume in self.ec2.describe_volumes(Filters=free)["Volumes"]]

    def ensure_key_pair(self, public_key: str) -> str:
        """The pair made of a public key; its private half never was anywhere but with its owner."""
        if self.name not in self.key_pairs():
            material, tags = public_key.encode(), self._tags("key-pair", self.name)
            try:
                self.ec2.import_key_pair(KeyName=self.name, PublicKeyMaterial=material, TagSpecifications=tags)
            except ClientError as error:
                if code_of(error) != "InvalidKeyPair.Duplicate":
                    raise
                raise Refused(
                    f"There is a key pair {self.name} that this did not make: use it with --key {self.name}, or choose "
                    "another name."
                ) from None
        return self.name

    def ensure_groups(self, doors: dict[str, list[Door]], vpc: str) -> dict[str, str]:
        """Security groups with these doors open and no other; returns their ids by name."""
        ids = {group["GroupName"]: group["GroupId"] for group in self.groups()}
        for group in doors:
            if group not in ids:
                ids[group] = self._make_group(group, vpc)
        opened = {group["GroupId"]: rules_of(group["IpPermissions"]) for group in self.groups()}
        for group, wanted in doors.items():
            rules = {rule(door, ids) for door in wanted}
            here = opened.get(ids[group], set())
            if missing := rules - here:
                self.ec2.authorize_security_group_ingress(GroupId=ids[group], IpPermissions=permissions(missing))
            if extra := here - rules:
                self.ec2.revoke_security_group_ingress(GroupId=ids[group], IpPermissions=permissions(extra))
        return ids

    def _make_group(self, group: str, vpc: str) -> str:
        try:
            made = self.ec2.create_security_group(
                GroupName=group, VpcId=vpc, Description=f"Serving site {self.name}",
                TagSpecifications=self._tags("security-group", group),
            )  # fmt: skip
        except ClientError as error:
            if code_of(error) != "InvalidGroup.Duplicate":
                raise
            raise Refused(f"There is a security group {group} that this did not make: choose another name.") from None
        return str(made["GroupId"])

    def start(self, machine: Machine, shape: Shape, group_id: str, user_data: str) -> None:
        """One instance: its disk encrypted, its metadata behind a token, nothing of it left when it is terminated."""
        self.ec2.run_instances(
            **request(shape, user_data),
            SecurityGroupIds=[group_id],
            TagSpecifications=[
                *self._tags("instance", machine.name, does=machine.does),
                *self._tags("volume", machine.name),
            ],
        )

    def _tags(self, resource: str, name: str, **more: str) -> list[dict[str, Any]]:
        tags = {"Name": name, TAG: self.name, **{f"{TAG}-{key}": value for key, value in more.items()}}
        return [{"ResourceType": resource, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

    def terminate(self) -> None:
        """Take away the machines, then what only they used."""
        if ids := [instance["InstanceId"] for instance in self.instances()]:
            self.ec2.terminate_instances(InstanceIds=ids)
            patience = {"Delay": 5, "MaxAttempts": 120}
            self.ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=patience)
        groups = self.groups()
        for group in groups:  # groups that name each other hold each other
            if group["IpPermissions"]:
                self.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
        for group in groups:
            self.ec2.delete_security_group(GroupId=group["GroupId"])
        for volume in self.volumes():
            self.ec2.delete_volume(VolumeId=volume)
        for pair in self.key_pairs():
            self.ec2.delete_key_pair(KeyName=pair)

    def user_data(self, instance: dict[str, Any]) -> str:
        """What an instance was started with."""
        found = self.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
        return base64.b64decode(found["UserData"].get("Value", "")).decode()


def request(shape: Shape, user_data: str) -> dict[str, Any]:
    """What EC2 is asked for, but for tags and security groups."""
    disk = {"VolumeSize": shape.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    return {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": shape.image,
        "InstanceType": shape.instance_type,
        "SubnetId": shape.subnet,
        "UserData": user_data,
        "BlockDeviceMappings": [{"DeviceName": shape.root_device, "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        **({"KeyName": shape.key_name} if shape.key_name else {}),
    }


Rule = tuple[str, int, int, str]
"""Protocol, first port, last port, and a network or the id of a security group."""


def rule(door: Door, ids: dict[str, str]) -> Rule:
    return ("tcp", door.port, door.port, ids[door.group] if door.group else door.network)


def rules_of(found: Iterable[dict[str, Any]]) -> set[Rule]:
    """EC2's nested permissions, one by one."""
    return {
        (one["IpProtocol"], one.get("FromPort", -1), one.get("ToPort", -1), source)
        for one in found
        for source in (
            *(part["CidrIp"] for part in one.get("IpRanges", [])),
            *(part["CidrIpv6"] for part in one.get("Ipv6Ranges", [])),
            *(part["GroupId"] for part in one.get("UserIdGroupPairs", [])),
        )
    }


def permissions(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """The way back."""
    return [
        {"IpProtocol": protocol, "FromPort": first, "ToPort": last, **source_of(source)}
        for protocol, first, last, source in sorted(rules)
    ]


def source_of(source: str) -> dict[str, Any]:
    if source.startswith("sg-"):
        return {"UserIdGroupPairs": [{"GroupId": source}]}
    return {"Ipv6Ranges": [{"CidrIpv6": source}]} if ":" in source else {"IpRanges": [{"CidrIp": source}]}


def tag_of(found: dict[str, Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in found.get("Tags", []) if tag["Key"] == key), "")


def name_of(found: dict[str, Any]) -> str:
    return tag_of(found, "Name")


def address_of(instance: dict[str, Any]) -> str:
    """Where it is reached: from everywhere if it has such an address, else from inside its network."""
    return str(instance.get("PublicIpAddress") or instance.get("PrivateIpAddress") or "")


def does(instance: dict[str, Any]) -> str:
    return tag_of(instance, f"{TAG}-does")


def ids_of(instances: Sequence[dict[str, Any]]) -> list[str]:
    return [str(instance["InstanceId"]) for instance in instances]

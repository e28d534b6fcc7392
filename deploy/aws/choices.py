"""What a launch is made of, looked up and checked before anything is made: image, type, key, network."""

from typing import Any

from botocore.exceptions import ClientError
from settings_file import Refused

from deploy.aws.fleet import Ec2, Shape
from deploy.aws.words import code_of

DEBIAN = "136693071363"
"""The account in which Debian publishes its images."""
RELEASES = {"single": "12", "compose": "13", "cluster": "12"}
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}


def shape(ec2: Ec2, way: str, options: Any) -> Shape:
    """Everything an instance is made of. Raises Refused for what is not there."""
    architecture = architecture_of(ec2, options.instance_type)
    image = named_image(ec2, options.image) if options.image else newest_debian(ec2, RELEASES[way], architecture)
    if image["Architecture"] != architecture:
        raise Refused(
            f"{image['ImageId']} is for {image['Architecture']}, {options.instance_type} is {architecture}: "
            "name a type or an image of the same kind."
        )
    if options.key:
        refuse_unknown_key(ec2, options.key)
    subnet = named_subnet(ec2, options.subnet) if options.subnet else default_subnet(ec2, options.instance_type)
    return Shape(
        image=image["ImageId"], root_device=image["RootDeviceName"], instance_type=options.instance_type,
        disk_gb=options.disk_gb, key_name=options.key or "", subnet=subnet["SubnetId"], vpc=subnet["VpcId"],
    )  # fmt: skip


def architecture_of(ec2: Ec2, instance_type: str) -> str:
    try:
        found = ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    except ClientError as error:
        if code_of(error) not in {"InvalidInstanceType", "InvalidParameterValue"}:
            raise
        found = []
    if not found:
        raise Refused(f"There is no instance type {instance_type} in this region.")
    offered = [one for one in found[0]["ProcessorInfo"]["SupportedArchitectures"] if one in ARCHITECTURES]
    if not offered:
        raise Refused(f"{instance_type} is neither x86_64 nor arm64.")
    return str(offered[-1])


def named_image(ec2: Ec2, image: str) -> dict[str, Any]:
    try:
        found = ec2.describe_images(ImageIds=[image])["Images"]
    except ClientError as error:
        if not code_of(error).startswith("InvalidAMIID"):
            raise
        found = []
    if not found:
        raise Refused(f"There is no image {image} in this region that this account may use.")
    return dict(found[0])


def newest_debian(ec2: Ec2, release: str, architecture: str) -> dict[str, Any]:
    """Debian's own image of that release."""
    pattern = f"debian-{release}-{ARCHITECTURES[architecture]}-*"
    wanted = [{"Name": "name", "Values": [pattern]}, {"Name": "state", "Values": ["available"]}]
    found = ec2.describe_images(Owners=[DEBIAN], Filters=wanted)["Images"]
    if not found:
        raise Refused(f"Debian publishes no image {pattern} in this region: name one with --image.")
    return dict(max(found, key=lambda image: image["CreationDate"]))


def refuse_unknown_key(ec2: Ec2, key: str) -> None:
    known = [str(pair["KeyName"]) for pair in ec2.describe_key_pairs()["KeyPairs"]]
    if key not in known:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise Refused(f"There is no key pair {key} in this region; {there}.")


def named_subnet(ec2: Ec2, subnet: str) -> dict[str, Any]:
    try:
        found = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    except ClientError as error:
        if not code_of(error).startswith("InvalidSubnetID"):
            raise
        found = []
    if not found:
        raise Refused(f"There is no subnet {subnet} in this region.")
    return dict(found[0])


def default_subnet(ec2: Ec2, instance_type: str) -> dict[str, Any]:
    """One of the account's default network where this type is offered."""
    found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
    )["InstanceTypeOfferings"]
    zones = {offer["Location"] for offer in offered}
    fitting = [subnet for subnet in found if subnet["AvailabilityZone"] in zones]
    if not fitting:
        raise Refused(
            f"This region has no default network where {instance_type} is offered: name a subnet with --subnet."
        )
    return dict(min(fitting, key=lambda subnet: subnet["AvailabilityZone"]))

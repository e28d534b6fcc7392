"""A private EC2 to launch on: moto's server, which keeps what it is asked for and runs no machine."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3

from deploy.local.ground import Ground, free_ports
from deploy.local.keeper import is_alive

REGION = "eu-central-1"
DEBIAN = "136693071363"
START_S = 60.0


class Moto:
    """The server; `environment` points programs that use boto3 to it, and to nothing else."""

    def __init__(self, ground: Ground) -> None:
        folder = ground.folder("moto", None)
        images = folder / "images.json"
        images.write_text(json.dumps([image("12", "20240101-1"), image("12", "20260101-2"), image("13", "20260101-3")]))
        self.port = free_ports(1)[0]
        self.log = folder / "log"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        # Off by default in moto: that an image, a key pair and a type must be there.
        checks = (
            "MOTO_ENABLE_AMI_VALIDATION",
            "MOTO_ENABLE_KEYPAIR_VALIDATION",
            "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION",
        )
        server = Path(sys.executable).with_name("moto_server")
        self.pid = ground.keeper.start(
            [str(server), "--host", "127.0.0.1", "--port", str(self.port)],
            env={"PATH": os.environ["PATH"], "MOTO_AMIS_PATH": str(images), **dict.fromkeys(checks, "true")},
            log=self.log,
        )
        self._wait()
        self.ec2: Any = boto3.session.Session().client(
            "ec2", region_name=REGION, endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="nobody", aws_secret_access_key="nothing",
        )  # fmt: skip

    def subnet(self, network: str) -> str:
        """A network whose machines have private addresses alone, in `network`; returns its subnet's id."""
        vpc = self.ec2.create_vpc(CidrBlock=network)["Vpc"]["VpcId"]
        return str(self.ec2.create_subnet(VpcId=vpc, CidrBlock=network)["Subnet"]["SubnetId"])

    def reset(self) -> None:
        """Forget everything, as a new account."""
        urllib.request.urlopen(self._url("/moto-api/reset"), data=b"", timeout=10).close()

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(self._url("/moto-api/data.json"), timeout=5).close()
            except OSError:
                if not is_alive(self.pid) or time.monotonic() > end:
                    raise RuntimeError(f"moto_server did not start: {self.log.read_text()[-2000:]}") from None
                time.sleep(0.1)
            else:
                return

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def image(release: str, build: str) -> dict[str, Any]:
    """A public image of Debian's, as moto wants to have it described."""
    return {
        "ami_id": f"ami-0debian{release}{build.replace('-', '')}",
        "name": f"debian-{release}-amd64-{build}",
        "description": f"Debian {release}",
        "owner_id": DEBIAN,
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "x86_64",
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": f"{build[:4]}-{build[4:6]}-{build[6:8]}T00:00:00.000Z",
    }

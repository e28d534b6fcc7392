"""The lab's two ways to hand user data to cloud-init, which runs as it does on a cloud's machine."""

import pytest

from tests.deploy.lab.ground import Lab
from tests.deploy.lab.hosts import CommandFailed
from tests.deploy.lab.metadata import Instance

USER_DATA = "#cloud-config\nlocale: C.UTF-8\nruncmd:\n- [sh, -c, 'echo {mark} > /root/mark']\n"


def test_user_data_comes_from_a_seed(lab: Lab) -> None:
    seed = {"user-data": USER_DATA.format(mark="seeded"), "meta-data": "instance-id: one\nlocal-hostname: seeded\n"}
    host = lab.host("seeded", seed=seed)
    host.await_cloud_init()
    assert host.run("cat /root/mark; hostname") == "seeded\nseeded\n"
    assert host.run("cloud-init query platform") == "nocloud\n"


def test_user_data_and_key_come_from_the_metadata_service(lab: Lab) -> None:
    key = lab.owners_key.with_suffix(".pub").read_text()
    instance = Instance(USER_DATA.format(mark="launched").encode(), "i-0123456789abcdef0", public_key=key)
    host = lab.host("launched", instance=instance)
    host.await_cloud_init()
    assert host.run("cat /root/mark") == "launched\n"
    assert host.run("cloud-init query instance_id") == "i-0123456789abcdef0\n"
    assert host.run("id --user --name", user="debian") == "debian\n"


def test_user_data_that_fails_is_told(lab: Lab) -> None:
    broken = "#cloud-config\nlocale: C.UTF-8\nruncmd:\n- [sh, -c, 'echo no luck >&2; exit 3']\n"
    host = lab.host("unlucky", seed={"user-data": broken, "meta-data": "instance-id: two\n"})
    with pytest.raises(CommandFailed, match="no luck"):
        host.await_cloud_init()

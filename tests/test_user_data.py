"""User data for cloud-init: what is rendered, and a sentence for every way in which it would not do what was meant."""

import copy
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cloud_config
import pytest
import render
import settings_file
import yaml
from settings_file import Refused

from tests.session import REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "cloud-init" / "settings.example.toml"
GIVEN: dict[str, Any] = tomllib.loads(EXAMPLE.read_text())


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**copy.deepcopy(GIVEN), **changes}.items() if value is not None}


def refusal(found: dict[str, Any]) -> str:
    with pytest.raises(Refused) as refused:
        cloud_config.user_data(settings_file.check(found), "single")
    return str(refused.value)


def files(made: str) -> dict[str, str]:
    return {entry["path"]: entry["content"] for entry in yaml.safe_load(made)["write_files"]}


@pytest.mark.parametrize("way", cloud_config.WAYS)
def test_the_example_renders_small_and_does_one_thing(way: str) -> None:
    made = cloud_config.user_data(settings_file.read(EXAMPLE), way)
    config = yaml.safe_load(made)
    assert made.startswith("#cloud-config\n")
    assert len(made.encode()) < 4096
    assert config["runcmd"] == [["/usr/local/sbin/serving-site-install"]]
    assert config["ssh_authorized_keys"] == GIVEN["ssh_authorized_keys"]
    assert (config["hostname"], config["fqdn"]) == ("models", "models.example.org")
    assert {entry["path"]: entry["permissions"] for entry in config["write_files"]} == {
        "/etc/serving-site/settings.json": "0600",
        "/etc/serving-site/source.conf": "0600",
        "/usr/local/sbin/serving-site-install": "0755",
    }


def test_settings_reach_ansible_as_they_are_written() -> None:
    found = changed(gpu=True, worker_slots=4, backup_at="23:59", site_settings={"SIGNUP": "open"}, web_memory="1G")
    written = files(cloud_config.user_data(settings_file.check(found), "single"))["/etc/serving-site/settings.json"]
    assert yaml.safe_load(written) == {
        "site_domain": "models.example.org", "admin_email": "ann@example.org", "gpu": True, "worker_slots": 4,
        "backup_at": "23:59", "site_settings": {"SIGNUP": "open"}, "web_memory": "1G",
    }  # fmt: skip


def test_every_setting_is_one_that_ansible_explains() -> None:
    explained = (REPOSITORY / "deploy" / "ansible" / "group_vars" / "all.example.yml").read_text()
    assert set(settings_file.VARIABLES) <= set(re.findall(r"^(?:# )?([a-z_]+):", explained, re.MULTILINE))


def test_where_the_code_comes_from_is_no_command_to_the_shell(tmp_path: Path) -> None:
    """It is read by `.` in install.sh: an address with $(…) in it stays an address."""
    source = {"archive": "https://example.org/$(touch${IFS}evil)'\"`id`.tar.gz", "sha256": "0" * 64}
    conf = tmp_path / "source.conf"
    conf.write_text(files(cloud_config.user_data(settings_file.check(changed(source=source)), "compose"))[
        "/etc/serving-site/source.conf"
    ])  # fmt: skip
    said = subprocess.run(
        ["sh", "-euc", '. ./source.conf; printf "%s " "$WAY" "$ARCHIVE" "$SHA256"'],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == f"compose {source['archive']} {source['sha256']} "
    assert list(tmp_path.iterdir()) == [conf]


def test_a_machine_of_a_cluster_gets_a_name_and_keys_and_waits_for_ansible() -> None:
    made = cloud_config.node_user_data(settings_file.check(changed(source=None)), "models-worker-1")
    assert yaml.safe_load(made) == {
        "hostname": "models-worker-1",
        "user": {"name": "admin"},
        "locale": "C.UTF-8",
        "ssh_authorized_keys": GIVEN["ssh_authorized_keys"],
    }


def test_more_of_cloud_inits_keys_come_along() -> None:
    more = {"timezone": "Europe/Berlin", "locale": "de_DE.UTF-8"}
    config = yaml.safe_load(cloud_config.user_data(settings_file.check(changed(cloud_config=more)), "single"))
    assert (config["timezone"], config["locale"]) == ("Europe/Berlin", "de_DE.UTF-8")


GIT = {"repository": "https://git.example.org/site.git", "ref": "main"}
EXPECTED = {name: f"expected {kind.expected}." for name, kind in settings_file.VARIABLES.items()}
EXPECTED |= {name: f"expected {kind.expected}." for name, kind in settings_file.SOURCE.items()}
ONE_OF_TWO = "expected repository and ref, or archive and sha256."
NO_SECRET = "expected none, for every process of the machine can read user data."
WITH_PASSWORD = "https://ann:secret@example.org/site"
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"site_domain": None}, "site_domain is missing", EXPECTED["site_domain"]),
    ({"admin_email": None}, "admin_email is missing", EXPECTED["admin_email"]),
    ({"source": None}, "source is missing", "expected a table with repository and ref, or archive and sha256."),
    ({"admin_mail": "a@b"}, "there is no setting admin_mail", "did you mean admin_email?"),
    ({"site_domain": "Models.org"}, 'site_domain is "Models.org"', EXPECTED["site_domain"]),
    ({"worker_slots": "two"}, 'worker_slots is "two"', "expected a whole number from 1 to 64."),
    ({"worker_slots": True}, "worker_slots is true", "expected a whole number from 1 to 64."),
    ({"gpu": "yes"}, 'gpu is "yes"', "expected true or false."),
    ({"backup_at": "24:00"}, 'backup_at is "24:00"', "expected a time of day such as 03:15."),
    ({"train_memory": "2 GB"}, 'train_memory is "2 GB"', 'expected memory such as "512M", "2G" or "80%".'),
    ({"site_url": WITH_PASSWORD}, f'site_url is "{WITH_PASSWORD}"', EXPECTED["site_url"]),
    (
        {"ssh_authorized_keys": [PRIVATE_KEY]},
        f'ssh_authorized_keys is "{PRIVATE_KEY}"',
        f"expected {settings_file.PUBLIC_KEY.expected}.",
    ),
    ({"model_push_keys": [{"name": "ann"}]}, 'model_push_keys is [{"name": "ann"}]', EXPECTED["model_push_keys"]),
    ({"source": "main"}, 'source is "main"', "expected a table."),
    ({"source": {**GIT, "reff": "x"}}, "there is no setting source.reff", "did you mean source.ref?"),
    ({"source": {"repository": GIT["repository"]}}, "[source] holds repository", ONE_OF_TWO),
    ({"source": {}}, "[source] holds nothing", ONE_OF_TWO),
    (
        {"source": {**GIT, "repository": WITH_PASSWORD}},
        f'source.repository is "{WITH_PASSWORD}"',
        EXPECTED["repository"],
    ),
    ({"source": {**GIT, "ref": "--evil=x"}}, 'source.ref is "--evil=x"', EXPECTED["ref"]),
    ({"source": {"archive": "https://a.org/b.tar.gz", "sha256": "abc"}}, 'source.sha256 is "abc"', EXPECTED["sha256"]),
    ({"site_settings": {"SECRET_KEY": "abc"}}, "site_settings.SECRET_KEY holds a secret", NO_SECRET),
    ({"site_settings": {"EMAIL_URL": WITH_PASSWORD}}, "site_settings.EMAIL_URL holds a secret", NO_SECRET),
    (
        {"site_settings": {"signup": "x"}},
        "site_settings holds signup",
        "expected names such as SIGNUP, in capital letters.",
    ),
    ({"site_settings": {"SIGNUP": True}}, "site_settings.SIGNUP is true", "expected a text on one line."),
    (
        {"cloud_config": {"timezon": "UTC"}},
        "there is no setting cloud_config.timezon",
        "did you mean cloud_config.timezone?",
    ),
]


@pytest.mark.parametrize(("change", "found", "expected"), REFUSALS, ids=[found[:40] for _, found, _ in REFUSALS])
def test_a_refusal_names_what_was_found_and_what_was_expected(
    change: dict[str, Any], found: str, expected: str
) -> None:
    assert refusal(changed(**change)) == f"{found}; {expected}"


def test_more_than_ec2_takes_is_refused() -> None:
    said = refusal(changed(cloud_config={"final_message": "x" * 16_384}))
    assert re.fullmatch(r"user data has 1[89]\d{3} bytes; expected at most 16384, which is what EC2 takes\. .*", said)


@pytest.mark.parametrize("key", [*cloud_config.OWN_KEYS, *cloud_config.SECRET_KEYS])
def test_keys_that_are_the_renderers_own_or_hold_secrets_cannot_be_given(key: str) -> None:
    assert refusal(changed(cloud_config={key: []})).startswith(f"there is no setting cloud_config.{key};")


def edited(tmp_path: Path, old: str, new: str) -> Path:
    made = cloud_config.user_data(settings_file.read(EXAMPLE), "single")
    assert made.count(old) == 1
    path = tmp_path / "user-data"
    path.write_text(made.replace(old, new))
    return path


PATH = "- path: /etc/serving-site/source.conf\n  "
UNKNOWN = "there is no key of cloud-init named"
EDITS = [
    ("\nruncmd:", "\nrun_cmd:", f"{UNKNOWN} run_cmd; did you mean runcmd?"),
    (f"{PATH}permis", f"{PATH}permiss", f"{UNKNOWN} write_files.permisssions; did you mean write_files.permissions?"),
    ("#cloud-config\n", "#cloudconfig\n", "user data starts with '#cloudconfig\\nhostnam'; expected the line"),
    ("\nlocale: C.UTF-8", "\nlocale: [", "user data is no YAML"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), EDITS)
def test_user_data_edited_by_hand_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    assert render.main(["--check", str(edited(tmp_path, old, new))]) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_cloud_inits_own_schema_has_the_last_word_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "cloud-init"
    program.write_text('#!/bin/sh\n[ "$1 $2" = "schema --config-file" ] && grep -q no_such_zone "$3" || exit 0\n'
                       "echo 'timezone: no_such_zone is wrong' >&2; exit 1\n")  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(EXAMPLE.read_text())
    bad.write_text(EXAMPLE.read_text() + '[cloud_config]\ntimezone = "no_such_zone"\n')
    assert render.main([str(good)]) == 0
    capsys.readouterr()
    assert render.main([str(bad)]) == 1
    assert capsys.readouterr().err == "cloud-init refuses the user data: timezone: no_such_zone is wrong\n"


def test_the_program_prints_user_data_and_a_misspelt_setting_fails_it(tmp_path: Path) -> None:
    program: list[str | Path] = [sys.executable, REPOSITORY / "deploy" / "cloud-init" / "render.py"]
    good = subprocess.run([*program, EXAMPLE], cwd="/", capture_output=True, text=True, check=True)
    assert good.stdout == cloud_config.user_data(settings_file.read(EXAMPLE), "single")
    wrong = tmp_path / "site.toml"
    wrong.write_text(EXAMPLE.read_text().replace("admin_email", "admin_mail"))
    bad = subprocess.run([*program, wrong], cwd="/", capture_output=True, text=True, check=False)
    sentence = f"{wrong}: there is no setting admin_mail; did you mean admin_email?\n"
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "", sentence)

"""Waiting until a site answers: web, database, broker and a worker."""

import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable

from settings_file import Refused

PAUSE_S = 3.0
ANSWER_S = 10.0


def wait_for_site(address: str, domain: str, timeout_s: float) -> None:
    """Return when the site's health is 200; says what it sees on the way. Raises Refused when time is up."""
    wait(lambda: site_health(address, domain), "ok", f"https://{address}/readyz?full", timeout_s)


def wait_for_ssh(address: str, timeout_s: float) -> None:
    """Return when somebody answers at the port of SSH."""
    wait(lambda: ssh_answer(address), "ok", f"{address} port 22", timeout_s)


def wait(look: Callable[[], str], wanted: str, what: str, timeout_s: float) -> None:
    """Look until it is as wanted."""
    end = time.monotonic() + timeout_s
    said = ""
    while (seen := look()) != wanted:
        if seen != said:
            print(f"Waiting for {what}: {seen}", file=sys.stderr, flush=True)
            said = seen
        if (left := end - time.monotonic()) <= 0:
            raise Refused(f"{what} is not there after {timeout_s:.0f} s: {seen}.")
        time.sleep(min(PAUSE_S, left))


def site_health(address: str, domain: str) -> str:
    """`ok`, or what is wrong. A new site's certificate is its own, so nothing is believed but that it answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=ANSWER_S, context=context)
    try:
        connection.request("GET", "/readyz?full", headers={"Host": domain})
        answer = connection.getresponse()
        body = answer.read(65_536)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()
    return "ok" if answer.status == 200 else f"status {answer.status}{reasons(body)}"


def reasons(body: bytes) -> str:
    """What the site says is missing, if it is the site that answers."""
    try:
        answer = json.loads(body)
        checks = {**answer["checks"], **answer["behind"]}
    except (ValueError, TypeError, KeyError):
        return ""
    wrong = [f"{name}: {value}" for name, value in checks.items() if value != "ok"]
    return f" ({', '.join(wrong)})" if wrong else ""


def ssh_answer(address: str) -> str:
    try:
        with socket.create_connection((address, 22), timeout=ANSWER_S) as connection:
            return "ok" if connection.recv(4) == b"SSH-" else "no SSH there"
    except OSError as error:
        return f"no answer ({type(error).__name__})"

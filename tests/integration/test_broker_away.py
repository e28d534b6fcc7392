"""While the broker is away, the site takes work and the workers still find it, only later."""

import json
import time

from tests.installs import Install
from tests.rows import ended
from tests.services import PostgreSQL, RabbitMQ


def test_a_prediction_ends_without_the_broker(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> None:
    install = Install.distributed_on(rabbitmq, postgres)
    try:
        web, _ = install.start()
        install.serve(["ok"])
        alice = install.log_in(web)
        rabbitmq.stop_app()
        started = time.monotonic()
        key = alice.submit("zoo-ok", x="1")
        assert time.monotonic() - started < 1
        assert ended(install, key, 30)["status"] == "succeeded"
        ready = json.loads(alice.get("/readyz").text)
        assert (ready["status"], ready["degraded"]) == ("ok", True)
        assert alice.get("/readyz?full").status == 503
    finally:
        rabbitmq.start_app()
        install.close()

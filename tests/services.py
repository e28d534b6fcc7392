"""The private servers that tests run on, with the verbs that fault tests need.

For example:

    def test_a_ring_survives_a_stopped_broker(rabbitmq, postgres):
        vhost = rabbitmq.new_vhost()
        site = {"RABBITMQ_URL": rabbitmq.url(vhost), "DATABASE_URL": postgres.createdb("faults")}
        rabbitmq.stop_app()
"""

import sys
import uuid
from typing import Any

import boto3
import pika
from pika.adapters.blocking_connection import BlockingChannel

from deploy.local import rabbitmq
from deploy.local.ground import PATH, Ground, free_ports, wait_until
from deploy.local.postgresql import PostgreSQL

__all__ = ["Buckets", "PostgreSQL", "RabbitMQ"]


class RabbitMQ(rabbitmq.RabbitMQ):
    """The private broker, seen from a test: what stands in its queues."""

    def depth(self, queue: str, vhost: str = "/") -> int:
        """How many messages wait in a queue, without those that a consumer holds; 0 if there is no such queue."""
        with self._connection(vhost) as connection:
            try:
                answer = connection.channel().queue_declare(queue, passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return 0
            return int(answer.method.message_count)

    def purge(self, queue: str, vhost: str = "/") -> None:
        """Lose the messages that wait in a queue."""
        with self._connection(vhost) as connection:
            connection.channel().queue_purge(queue)

    def publish(self, queue: str, body: bytes, vhost: str = "/", times: int = 1) -> None:
        """Put the same message into a queue, `times` times; it is on disk when this returns."""
        with self._connection(vhost) as connection:
            channel: BlockingChannel = connection.channel()
            channel.confirm_delivery()
            for _ in range(times):
                channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))

    def get(self, queue: str, vhost: str = "/") -> bytes | None:
        """Take one message out of a queue; None when it is empty."""
        with self._connection(vhost) as connection:
            method, _, body = connection.channel().basic_get(queue, auto_ack=True)
            return bytes(body) if method else None

    def _connection(self, vhost: str) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.url(vhost)))


class Buckets:
    """A private service that speaks S3 over HTTP. `new()` makes a bucket and returns its STORAGE_URL."""

    environment = {
        "AWS_ACCESS_KEY_ID": "of-the-tests",
        "AWS_SECRET_ACCESS_KEY": "of-the-tests",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }

    def __init__(self, ground: Ground) -> None:
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        log = ground.directory / "buckets.log"
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        pid = ground.keeper.start(argv, env={"PATH": PATH, "HOME": str(ground.directory)}, log=log)
        wait_until(lambda: " * Running on" in log.read_text(errors="replace"), pid, log, "the service of buckets")

    def new(self) -> str:
        """The STORAGE_URL of a folder in a bucket of the test's own."""
        name = f"bucket-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        return f"s3://{name}/of/a/site?endpoint_url={self.endpoint}"

    def keys(self, url: str) -> list[str]:
        """What lies in the bucket."""
        found = self.client().list_objects_v2(Bucket=url.split("/")[2])
        return [one["Key"] for one in found.get("Contents", [])]

    def client(self) -> Any:
        """A client of the service, with the tests' own keys."""
        keys = {"aws_access_key_id": "of-the-tests", "aws_secret_access_key": "of-the-tests"}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="eu-central-1", **keys)

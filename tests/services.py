"""The private servers that tests run on, with the verbs that fault tests need.

For example:

    def test_a_ring_survives_a_stopped_broker(rabbitmq, postgres):
        vhost = rabbitmq.new_vhost()
        site = {"RABBITMQ_URL": rabbitmq.url(vhost), "DATABASE_URL": postgres.createdb("faults")}
        rabbitmq.stop_app()
"""

import pika
from pika.adapters.blocking_connection import BlockingChannel

from deploy.local import rabbitmq
from deploy.local.postgresql import PostgreSQL

__all__ = ["PostgreSQL", "RabbitMQ"]


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

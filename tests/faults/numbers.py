"""A program that counts through a queue, to see which messages a consumer loses when its connection is closed.

`publish` puts 1 to COUNT into the queue; `work` runs them on one thread, and from HELD on each waits until a file
"go-N" is there. Every start and every end leaves a file. CONSUMER is `ours` or `upstream`.
"""

import argparse
import signal
import time
from pathlib import Path

import dramatiq
import dramatiq.brokers.rabbitmq
from dramatiq.worker import Worker

from serving_site.broker import Broker

QUEUE = "numbers"
COUNT = 20
HELD = 5
PREFETCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["publish", "work"])
    parser.add_argument("consumer", choices=["ours", "upstream"])
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    broker = (
        Broker(amqp_url=options.url, confirm_delivery=True, middleware=[])
        if options.consumer == "ours"
        else dramatiq.brokers.rabbitmq.RabbitmqBroker(url=options.url, confirm_delivery=True, middleware=[])
    )

    def work(number: int) -> None:
        (options.folder / f"started-{number}").touch()
        while number >= HELD and not (options.folder / f"go-{number}").exists():
            time.sleep(0.02)
        (options.folder / f"done-{number}").touch()

    actor = dramatiq.actor(broker=broker, queue_name=QUEUE)(work)
    if options.task == "publish":
        for number in range(1, COUNT + 1):
            actor.send(number)
    else:
        worker = Worker(broker, worker_threads=1)
        worker.queue_prefetch = PREFETCH
        worker.start()
        signal.pause()


if __name__ == "__main__":
    main()

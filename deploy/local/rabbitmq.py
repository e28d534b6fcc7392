"""A private RabbitMQ node."""

import os
import secrets
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from deploy.local.ground import PATH, Ground, Missing, free_ports, run_tool, server_user, wait_until
from deploy.local.keeper import wait_gone

BIN = Path("/usr/lib/rabbitmq/bin")


class RabbitMQ:
    """A private broker node. `url(vhost)` of a vhost that `new_vhost()` made is a RABBITMQ_URL.

    With `beside` it joins that node's cluster.
    """

    username = "site"

    def __init__(self, ground: Ground, beside: "RabbitMQ | None" = None) -> None:
        if not (BIN / "rabbitmq-server").exists():
            raise Missing("RabbitMQ is not installed (Debian: rabbitmq-server)")
        self._ground = ground
        self._user = server_user("rabbitmq")
        self.port, self._distribution_port, self.epmd_port = free_ports(3)
        self.folder = ground.folder(f"rabbitmq-{self.port}", self._user)
        self.log = ground.directory / f"rabbitmq-{self.port}.log"
        self.password, self.cookie = secrets.token_hex(16), secrets.token_hex(20).upper()
        if beside:
            self.password, self.cookie, self.epmd_port = beside.password, beside.cookie, beside.epmd_port
        self.node = f"site-{self.port}@localhost"
        self.pid = 0
        self._vhosts: list[str] = []
        self._write("rabbitmq.conf", self._configuration())
        self._write("plugins", "[].\n")
        # localhost is known without a resolver process, and whatever the machine's hosts file says.
        self._write("inetrc", '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n')
        self._write(".erlang.cookie", self.cookie, mode=0o400)
        if not beside:
            self._start_epmd()
        self.start()
        if beside:
            self.ctl("stop_app")
            self.ctl("join_cluster", beside.node)
            self.ctl("start_app")

    def url(self, vhost: str = "/") -> str:
        """The RABBITMQ_URL of a vhost of this node."""
        return f"amqp://{self.username}:{self.password}@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def new_vhost(self, name: str = "") -> str:
        """Create a vhost that the user may do everything in, and return its name."""
        name = name or f"test-{secrets.token_hex(4)}"
        self._add_vhosts([name])
        self._vhosts.append(name)
        return name

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with its queues and connections."""
        self._vhosts.remove(name)
        self.ctl("delete_vhost", name)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it printed."""
        return run_tool([BIN / "rabbitmqctl", "--quiet", *arguments], self._env(), self._user)

    def start(self) -> None:
        """Start the node with the data it has and wait until it accepts connections."""
        self.pid = self._ground.keeper.start(
            [str(BIN / "rabbitmq-server")], env=self._env(), log=self.log, user=self._user
        )
        wait_until(self._answers, self.pid, self.log, "RabbitMQ")
        self.ctl("await_startup", "--timeout", "30")

    def kill(self) -> None:
        """SIGKILL the node; `start()` brings it back with what was on disk."""
        os.kill(self.pid, signal.SIGKILL)
        wait_gone(self.pid)

    def stop_app(self) -> None:
        """Stop the broker and its listeners, leave the Erlang node; about a second."""
        self.ctl("stop_app")

    def start_app(self) -> None:
        """Undo `stop_app()`."""
        self.ctl("start_app")

    def wipe(self) -> None:
        """Lose every queue and message; the vhosts are there again, empty, when this returns."""
        self.ctl("stop_app")
        self.ctl("reset")
        self.ctl("start_app")
        self._add_vhosts(self._vhosts)

    def close_all_connections(self, reason: str = "closed by a test") -> None:
        """Have the broker close every client's connection."""
        self.ctl("close_all_connections", "--global", reason)

    def _add_vhosts(self, names: Sequence[str]) -> None:
        # Each rabbitmqctl takes about a second of a processor, so one does it all.
        steps = [
            f'ok = rabbit_vhost:add(<<"{name}">>, <<"tests">>), ok = rabbit_auth_backend_internal:set_permissions('
            f'<<"{self.username}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)'
            for name in names
        ]
        self.ctl("eval", ", ".join([*steps, "ok."]))

    def _configuration(self) -> str:
        return (
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            f"default_user = {self.username}\n"
            f"default_pass = {self.password}\n"
            "log.console = true\n"
            "log.file = false\n"
            "vm_memory_high_watermark.absolute = 400MB\n"
            "disk_free_limit.absolute = 50MB\n"
            "cluster_partition_handling = pause_minority\n"  # of a cluster: see deploy/README.md
        )

    def _start_epmd(self) -> None:
        # Started here, so that neither the node nor rabbitmqctl leaves a daemon of its own behind.
        self._ground.keeper.start(
            ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
            env=self._env(),
            log=self.log,
            user=self._user,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        if self._user:
            shutil.chown(path, self._user, self._user)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_INETRC": str(self.folder / "inetrc"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            # One scheduler that sleeps when idle; all of Erlang's own listeners on loopback.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false"
                " -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            "RUNNING_UNDER_SYSTEMD": "1",  # the start script then becomes the node instead of waiting beside it
        }

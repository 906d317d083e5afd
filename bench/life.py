#!/usr/bin/env python3
"""What a daemon does that holds much and does little: how late timers are, what 10,000 waiting requests take, and a million
scheduled tasks, also over a kill and a stop.

usage: life.py [--satcheld FILE] [--directory DIR] [--waiters N] [--scheduled N]

Prints one line of JSON on standard output.  Run it in the build directory.
"""
import argparse
import datetime
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SETTINGS = """max_connections = 30000
max_connections_per_source = 30000
max_waiting_per_tenant = 2000000
"""
DELAYED = 2000
START_LIMIT = 120


class Daemon:
    """A satcheld in a directory of its own; it ends with this program."""
    running = None

    def __init__(self, options, data):
        self.command = [options.satcheld, "--config", os.path.join(options.folder, "conf"), "--listen", "127.0.0.1:0",
                        "--data-dir", os.path.join(options.folder, data)]
        self.start()

    def start(self):
        begun = time.monotonic()
        self.process = Daemon.running = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        limit = threading.Timer(START_LIMIT, self.process.kill)
        limit.start()
        for line in self.process.stderr:
            if "listening on" in line:
                host, port = line.split()[-1][len("http://"):].split(":")
                self.address = host, int(port)
                break
        else:
            sys.exit("life.py: satcheld did not start")
        limit.cancel()
        self.ready_s = time.monotonic() - begun
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self, how):
        self.process.send_signal(how)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(file.read().split("VmRSS:")[1].split()[0])

    def ask(self, method, target, body=None, **fields):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request(method, target, body, {"X-Tenant-ID": "life", "Content-Type": "application/json", **fields})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 300:
            sys.exit(f"life.py: {method} {target}: {answer.status} {data[:500]!r}")
        return json.loads(data) if answer.getheader("Content-Type") == "application/json" else data

    def batch(self, lines, **fields):
        answer = self.ask("POST", "/v1/tasks:batch", lines,
                          **{"Content-Type": "application/x-ndjson", "Prefer": "return=minimal", **fields})
        if b"urn:satchel:problem" in answer:
            sys.exit(f"life.py: a submission was refused: {answer[:500]!r}")

    def submission_ms(self, count=300):
        """p50 and p99 of single submissions, one after the other."""
        connection, taken = http.client.HTTPConnection(*self.address, timeout=60), []
        for _ in range(count):
            begun = time.monotonic()
            connection.request("POST", "/v1/tasks", b'{"task":"satchel.noop"}',
                               {"X-Tenant-ID": "life", "Content-Type": "application/json"})
            connection.getresponse().read()
            taken.append((time.monotonic() - begun) * 1000)
        connection.close()
        return percentile(taken, 0.5), percentile(taken, 0.99)


def percentile(values, share):
    return round(sorted(values)[int(len(values) * share)], 2)


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def measure_timers(daemon):
    """How long after their time delayed tasks begin: times from half a second to six, all over the place."""
    dice = random.Random(1)
    daemon.batch("".join('{"task":"satchel.noop","delay":"%dms"}\n' % dice.randint(500, 6000) for _ in range(DELAYED)))
    time.sleep(7.5)
    late, cursor = [], ""
    while True:
        page = daemon.ask("GET", "/v1/tasks?state=succeeded&limit=1000" + cursor)
        late += [(seconds_of(task["started_at"]) - seconds_of(task["run_at"])) * 1000 for task in page["tasks"]]
        if "next_cursor" not in page:
            break
        cursor = "&cursor=" + page["next_cursor"]
    if len(late) != DELAYED:
        sys.exit(f"life.py: {len(late)} of {DELAYED} delayed tasks have run")
    return {"tasks": len(late), "p50_ms": percentile(late, 0.5), "p99_ms": percentile(late, 0.99), "max_ms": round(max(late), 2)}


def measure_waiters(daemon, count):
    """Requests that wait for the same task: their memory, what they do to others, and how soon all are answered."""
    before, alone = daemon.rss_kib(), daemon.submission_ms()
    task = daemon.ask("POST", "/v1/tasks", '{"task":"satchel.noop","delay":600}')["id"]
    sockets = []
    for _ in range(count):
        one = socket.create_connection(daemon.address)
        one.sendall(f"GET /v1/tasks/{task}?wait=5m HTTP/1.1\r\nHost: x\r\nX-Tenant-ID: life\r\n\r\n".encode())
        sockets.append(one)
    time.sleep(1.5)
    rss, beside = daemon.rss_kib(), daemon.submission_ms()
    begun = time.monotonic()
    daemon.ask("POST", f"/v1/tasks/{task}:cancel")
    answered = 0
    for one in sockets:
        one.settimeout(20)
        answered += one.recv(200).startswith(b"HTTP/1.1 200")
        one.close()
    if answered != count:
        sys.exit(f"life.py: {answered} of {count} waiters were answered")
    return {"waiters": count, "rss_before_kib": before, "rss_kib": rss, "p50_alone_ms": alone[0], "p99_alone_ms": alone[1],
            "p50_ms": beside[0], "p99_ms": beside[1], "answered_s": round(time.monotonic() - begun, 2)}


def measure_scheduled(daemon, count):
    idle = daemon.rss_kib()
    begun = time.monotonic()
    for first in range(0, count, 50000):
        daemon.batch(b'{"task":"satchel.noop","delay":36000}\n' * min(50000, count - first))
    submitted_s = time.monotonic() - begun
    time.sleep(3)
    rss = daemon.rss_kib()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    killed_s = daemon.ready_s
    time.sleep(1)
    again, beside = daemon.rss_kib(), daemon.submission_ms()
    daemon.stop(signal.SIGTERM)
    daemon.start()
    return {"tasks": count, "submitted_s": round(submitted_s, 1), "rss_kib": rss,
            "bytes_per_task": round((rss - idle) * 1024 / count, 1), "rss_restarted_kib": again,
            "bytes_per_task_restarted": round((again - idle) * 1024 / count, 1), "start_killed_s": round(killed_s, 2),
            "start_stopped_s": round(daemon.ready_s, 2), "p50_ms": beside[0], "p99_ms": beside[1]}


def measure(options):
    daemon, result = Daemon(options, "many"), {}
    result["scheduled"] = measure_scheduled(daemon, options.scheduled)
    daemon.stop(signal.SIGTERM)
    daemon = Daemon(options, "few")
    result["timers"] = measure_timers(daemon)
    result["waiters"] = measure_waiters(daemon, options.waiters)
    daemon.stop(signal.SIGTERM)
    return result


def measure_in_folder(options, settings, measure):
    """Prints what measure(options) returns; options.folder has the configuration, and is gone afterwards."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    options.folder = tempfile.mkdtemp(prefix="satchel-bench-", dir=options.directory)
    try:
        with open(os.path.join(options.folder, "conf"), "w") as file:
            file.write(settings)
        print(json.dumps(measure(options)))
    finally:
        if Daemon.running and Daemon.running.poll() is None:
            Daemon.running.kill()
            Daemon.running.wait()
        shutil.rmtree(options.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="Timers, waiters, a million scheduled tasks.")
    parser.add_argument("--satcheld", default="daemon/satcheld")
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--waiters", type=int, default=10000)
    parser.add_argument("--scheduled", type=int, default=1000000)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < options.waiters + 100:
        options.waiters = most - 100
    measure_in_folder(options, SETTINGS, measure)


if __name__ == "__main__":
    main()

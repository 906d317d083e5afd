#!/usr/bin/env python3
"""What tenants notice of each other: how long one that submits a task a second waits beside one that has queued 100,000, and
how run time is shared by weight.

usage: fairness.py [--satcheld FILE] [--directory DIR] [--noisy N] [--seconds N]

Prints one line of JSON on standard output.  Run it in the build directory.
"""
import argparse
import json
import os
import signal
import sys
import time

from life import Daemon, measure_in_folder, percentile, seconds_of

WORKERS = 2
LENGTH_MS = 10  # of a task of the noisy tenant, and of the one beside it
SETTINGS = f"""workers = {WORKERS}
max_waiting_per_tenant = 2000000
""" + "".join(f'tenant "w{weight}" {{ weight = {weight} }}\n' for weight in (1, 2, 4))
# Lengths in milliseconds that each tenant's tasks take in turn.
EQUAL = {"w1": [10], "w2": [10], "w4": [10]}
UNEQUAL = {"w1": [3], "w2": [40], "w4": [2, 2, 2, 60]}


def sleep_task(milliseconds):
    return json.dumps({"task": "satchel.sleep", "args": {"seconds": milliseconds / 1000}})


def submit_many(daemon, tenant, lengths, count):
    lines = [sleep_task(lengths[i % len(lengths)]) for i in range(count)]
    for first in range(0, count, 20000):
        daemon.batch("\n".join(lines[first:first + 20000]) + "\n", **{"X-Tenant-ID": tenant})


def waits_ms(daemon, seconds):
    """Of one task a second, from its submission to its start."""
    tasks = []
    for _ in range(seconds):
        begun = time.monotonic()
        tasks.append(daemon.ask("POST", "/v1/tasks", sleep_task(LENGTH_MS), **{"X-Tenant-ID": "quiet", "Prefer": "wait=60"}))
        time.sleep(max(0, 1 - (time.monotonic() - begun)))
    waits = [(seconds_of(task["started_at"]) - seconds_of(task["created_at"])) * 1000 for task in tasks]
    return {"p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99), "max_ms": round(max(waits), 2)}


def measure_noise(daemon, count, seconds):
    alone = waits_ms(daemon, seconds // 2)
    submit_many(daemon, "noisy", [LENGTH_MS], count)
    beside = waits_ms(daemon, seconds)
    queued = daemon.ask("GET", "/v1/tenants/noisy")["queued"]
    if queued < 1:
        sys.exit("fairness.py: the noisy tenant had nothing more to do")
    daemon.ask("POST", "/v1/tasks:cancel?state=queued", **{"X-Tenant-ID": "noisy"})
    return {"tasks": count, "length_ms": LENGTH_MS, "workers": WORKERS, "seconds": seconds, "alone": alone, "beside": beside,
            "still_queued": queued}


def run_seconds(daemon, tenants):
    return {name: daemon.ask("GET", f"/v1/tenants/{name}")["usage"]["run_seconds"] for name in tenants}


def measure_shares(daemon, lengths, seconds):
    daemon.ask("POST", "/v1/admin:pause")
    for name, its in lengths.items():  # enough for all of the time
        submit_many(daemon, name, its, int(1.3 * WORKERS * seconds * 1000 / (sum(its) / len(its))))
    before = run_seconds(daemon, lengths)
    daemon.ask("POST", "/v1/admin:resume")
    time.sleep(seconds)
    after = run_seconds(daemon, lengths)
    for name in lengths:
        if daemon.ask("GET", f"/v1/tenants/{name}")["queued"] < 1:
            sys.exit(f"fairness.py: {name} had nothing more to do")
        daemon.ask("POST", "/v1/tasks:cancel?state=queued", **{"X-Tenant-ID": name})
    while any(daemon.ask("GET", f"/v1/tenants/{name}")["running"] for name in lengths):
        time.sleep(0.02)
    used = {name: after[name] - before[name] for name in lengths}
    total, weights = sum(used.values()), sum(int(name[1:]) for name in lengths)
    shares = {name: used[name] / total for name in lengths}
    off = max(abs(shares[name] / (int(name[1:]) / weights) - 1) for name in lengths)
    return {"lengths_ms": lengths, "seconds": seconds, "shares": {name: round(share, 4) for name, share in shares.items()},
            "off_percent": round(100 * off, 2)}


def measure(options):
    daemon = Daemon(options, "data")
    result = {"noise": measure_noise(daemon, options.noisy, options.seconds),
              "equal": measure_shares(daemon, EQUAL, options.seconds // 3),
              "unequal": measure_shares(daemon, UNEQUAL, options.seconds // 3)}
    daemon.stop(signal.SIGTERM)
    return result


def main():
    parser = argparse.ArgumentParser(description="What tenants notice of each other.")
    parser.add_argument("--satcheld", default="daemon/satcheld")
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--noisy", type=int, default=100000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    measure_in_folder(options, SETTINGS, measure)


if __name__ == "__main__":
    main()

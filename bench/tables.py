"""Tables (markdown) and plots (SVG) of what bench/run has measured.

usage: tables.py RESULTS.json      writes them again beside it
"""
import json
import math
import os
import statistics
import sys

TITLES = {
    "wait": "single submissions, 64 connections, answered when finished",
    "batch-wait": "batches of 500, answered when finished",
    "batch-finish": "batches of 500, until all are finished",
    "submit": "single submissions, 64 connections, answered when durable",
    "batch": "batches of 500, answered when durable",
    "poll": "single submissions, then a long poll each",
    "submit at 70 %": "single submissions at 70 % of the peak (open loop)",
    "wait at 100/s": "100 a second on one connection, answered when finished (open loop)",
    "get": "reads of finished tasks, 64 connections",
    "commands": "command tasks (/bin/true), 16 connections",
    "tenants": "as the first, of 1,000 tenants",
    "mixed": "half as the first, a third reads, some batches of 20, lists, delayed tasks",
    "queue": "as the first, while many others wait",
}


def median(runs, pick):
    values = [value for value in map(pick, runs) if value is not None]
    return statistics.median(values) if values else None


def spread(runs, pick):
    values = [value for value in map(pick, runs) if value is not None]
    return (min(values), max(values)) if values else None


def rate(run):
    """Tasks a second; of reads, operations."""
    return run["tasks_per_s"] or run.get("operations_per_s")


def latency(share):
    def pick(run):
        kinds = run["latency_ms"].values()
        return max(kinds, key=lambda kind: kind["count"])[share] if kinds else None
    return pick


def number(value, digits=3):
    """1,234 or 1.23: as many digits as are meant."""
    if value is None:
        return "?"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if value else "0"


# ---- the tables ----

def targets(results):
    """(what, value, target, whether it is reached)"""
    satchel, rows = results["satchel"], []

    def add(what, value, target, unit, most):
        if value is not None:
            rows.append((what, f"{number(value)}{unit}", f"{'<=' if most else '>='} {number(target)}{unit}",
                         value <= target if most else value >= target))

    def of(name, pick):
        return median(satchel[name], pick) if satchel.get(name) else None

    add("single submissions to finished, 64 connections", of("wait", rate), 40000, "/s", False)
    add("batches of 500 to finished (answered then)", of("batch-wait", rate), 100000, "/s", False)
    add("batches of 500 to finished (all of them)", of("batch-finish", rate), 100000, "/s", False)
    add("batches of 500, submission alone", of("batch", rate), 150000, "/s", False)
    add("single submissions alone", of("submit", rate), 60000, "/s", False)
    add("100 a second to finished: p50", of("wait at 100/s", latency("p50")), 1.5, " ms", True)
    add("100 a second to finished: p99", of("wait at 100/s", latency("p99")), 5, " ms", True)
    add("submission at 70 % of the peak: p99", of("submit at 70 %", latency("p99")), 20, " ms", True)
    add("GET of a finished task", of("get", rate), 80000, "/s", False)
    add("command tasks, of one loop of posix_spawn",
        of("commands", lambda run: 100 * run["tasks_per_s"] / run["posix_spawn"]["one_loop_per_s"]), 80, " %", False)
    add("command tasks, of such a loop on each processor",
        of("commands", lambda run: 100 * run["tasks_per_s"] / run["posix_spawn"]["all_processors_per_s"]), 80, " %", False)
    add("resident memory, idle", of("idle", lambda run: run["daemon"]["rss_idle_kib"] * 1024 / 1e6), 8, " MB", True)
    add("memory of a waiting task", of("start", lambda run: run["preload"]["bytes_per_task"]), 100, " bytes", True)
    add("resident memory with 10,000 waiters", of("life", lambda run: run["waiters"]["rss_kib"] * 1024 / 1e6), 100, " MB",
        True)
    add("start with 1,000,000 waiting tasks, after a kill", of("start", lambda run: run["start"]["killed_s"]), 2, " s", True)
    add("fsyncs of a task at the peak (batches)", of("batch-wait", lambda run: run["daemon"]["syncs_per_task"]), 0.02, "", True)
    add("fsyncs of a task, single submissions", of("wait", lambda run: run["daemon"]["syncs_per_task"]), 0.02, "", True)
    if of("wait", rate) and of("queue", rate):
        add(f"rate with {results['queue']:,} waiting tasks, of that with none", 100 * of("queue", rate) / of("wait", rate), 80,
            " %", False)
    return rows


def target_table(results):
    lines = ["| what | reached | target | |", "|---|---|---|---|"]
    for what, value, target, good in targets(results):
        lines.append(f"| {what} | {value} | {target} | {'yes' if good else '**no**'} |")
    return lines


def peer_rows(results):
    """(name, version, durable, runs), satcheld's two first"""
    version = results["machine"]["satcheld"]
    rows = [(f"satchel, {what}", version, "yes", results["satchel"][name])
            for name, what in (("batch-wait", "8 batches of 500"), ("wait", "single submissions")) if results["satchel"].get(name)]
    for runs in results["peers"].values():
        if runs[0]["installed"]:
            rows.append((runs[0]["peer"], runs[0]["version"], runs[0]["durable"], runs))
    return rows


def peer_latency(share):
    return lambda run: run[f"{share}_ms"] if f"{share}_ms" in run else latency(share)(run)


def peer_table(results):
    lines = ["| what | durable | tasks/s (least - most) | p50 ms | p99 ms | version |", "|---|---|---|---|---|---|"]
    for name, version, durable, runs in peer_rows(results):
        least, most = spread(runs, rate)
        lines.append(f"| {name} | {durable} | {number(median(runs, rate))} ({number(least)} - {number(most)}) | "
                     f"{number(median(runs, peer_latency('p50')))} | {number(median(runs, peer_latency('p99')))} | {version} |")
    for runs in results["peers"].values():
        if not runs[0]["installed"]:
            lines.append(f"| {runs[0]['peer']} | | not installed: {runs[0]['missing']} | | | |")
    return lines


def scenario_table(results):
    lines = ["| scenario | a second (least - most) | p50 ms | p99 ms | p99.9 ms | processor us each | fsyncs each | "
             "thread switches each | MiB |", "|---|---|---|---|---|---|---|---|---|"]
    for name, title in TITLES.items():
        runs = results["satchel"].get(name)
        if not runs:
            continue
        least, most = spread(runs, rate)
        of = lambda key: number(median(runs, lambda run: run["daemon"][key]))
        lines.append(f"| {name}: {title} | {number(median(runs, rate))} ({number(least)} - {number(most)}) | "
                     f"{number(median(runs, latency('p50')))} | {number(median(runs, latency('p99')))} | "
                     f"{number(median(runs, latency('p99.9')))} | {of('cpu_us_per_task')} | {of('syncs_per_task')} | "
                     f"{of('switches_per_task')} | {number(median(runs, lambda run: run['daemon']['rss_kib'] / 1024))} |")
    return lines


def markdown(results, base):
    machine, name = results["machine"], os.path.basename(base)
    others = [100 * run["others"] for group in ("satchel", "peers") for runs in results[group].values() for run in runs]
    lines = [f"# {name}", "",
             f"{machine['processors']} processors ({machine['processor']}), {machine['memory_mib']:,} MiB, {machine['system']}, "
             f"Linux {machine['kernel']}, {machine['file_system']}; fdatasync of 4 KiB: {machine['fdatasync_ms']} ms (median). "
             f"{machine['satcheld']}, commit {machine['commit']}. Medians of {results['runs']} rounds, {results['seconds']:g} s "
             f"each; meanwhile other programs took {statistics.median(others) if others else 0:.0f} % of the processors (median; at "
             f"most {max(others, default=0):.0f} %).", "",
             "## Targets", "", *target_table(results), "",
             "## Submitted until finished: satchel and its peers", "",
             "A task that does nothing, 64 in flight (batches: 8 of them), submitters, server and workers on the same processors.", "",
             *peer_table(results), "", f"![rates]({name}-rates.svg) ![latencies]({name}-latencies.svg)", "",
             "## satcheld by scenario", "", *scenario_table(results), ""]
    life = (results["satchel"].get("life") or [None])[-1]
    if life:
        lines += ["## Timers, waiters, a million scheduled tasks", "",
                  f"- {life['timers']['tasks']:,} delayed tasks began {life['timers']['p50_ms']} ms (p50), {life['timers']['p99_ms']} "
                  f"ms (p99), {life['timers']['max_ms']} ms (most) after their time.",
                  f"- {life['waiters']['waiters']:,} requests that wait for one task: {life['waiters']['rss_kib'] / 1024:.1f} MiB in "
                  f"all; a submission beside them takes {life['waiters']['p50_ms']} ms (p50), {life['waiters']['p99_ms']} ms (p99); "
                  f"all were answered within {life['waiters']['answered_s']} s.",
                  f"- {life['scheduled']['tasks']:,} scheduled tasks: {life['scheduled']['bytes_per_task']} bytes each, "
                  f"{life['scheduled']['bytes_per_task_restarted']} after a start; ready {life['scheduled']['start_killed_s']} s "
                  f"after a kill, {life['scheduled']['start_stopped_s']} s after a stop.", ""]
    fairness = (results["satchel"].get("fairness") or [None])[-1]
    if fairness:
        lines += fairness_lines(fairness)
    return "\n".join(lines)


def fairness_lines(fairness):
    noise = fairness["noise"]
    lines = ["## Tenants beside each other", "",
             f"- One task a second waits {noise['alone']['p50_ms']} ms (p50), {noise['alone']['p99_ms']} ms (p99) alone, and "
             f"{noise['beside']['p50_ms']} ms (p50), {noise['beside']['p99_ms']} ms (p99) beside a tenant that has queued "
             f"{noise['tasks']:,} tasks of {noise['length_ms']} ms, on {noise['workers']} workers."]
    for what in "equal", "unequal":
        lengths = "; ".join(f"{name} {'/'.join(map(str, its))} ms" for name, its in fairness[what]["lengths_ms"].items())
        shares = " : ".join(f"{100 * share:.2f} %" for share in fairness[what]["shares"].values())
        lines.append(f"- Weights 1, 2, 4, all backlogged, tasks of {what} length ({lengths}): {shares} of the run time in "
                     f"{fairness[what]['seconds']} s, {fairness[what]['off_percent']} % off at most.")
    return lines + [""]


# ---- the plots ----

COLOURS = {"satchel": "#1b6ca8", "yes": "#c8553d", "no": "#b0b0b0"}
WIDTH, LEFT, RIGHT, ROW, TOP = 860, 230, 150, 30, 56


def colour(name, durable):
    return COLOURS["satchel" if name.startswith("satchel") else "no" if durable.startswith("no") else "yes"]


def text(x, y, what, extra=""):
    what = str(what).replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{what}</text>'


def frame(title, rows, lowest, highest, unit):
    """The beginning of a plot with a logarithmic axis, and the function from values to places on it."""
    lows, highs = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    height = TOP + ROW * rows + 60

    def at(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(max(value, lowest)) - lows) / (highs - lows)

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="sans-serif" font-size="13">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             text(LEFT, 26, title, 'font-size="16" font-weight="bold"')]
    bottom = TOP + ROW * rows
    for power in range(lows, highs + 1):
        x = at(10.0 ** power)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        lines.append(text(x, bottom + 18, f"{10 ** power:,}" if power >= 0 else f"{10.0 ** power:g}", 'text-anchor="middle"'))
    lines.append(text(WIDTH - RIGHT, bottom + 38, unit, 'text-anchor="end" fill="#555555"'))
    return lines, at


def legend(rows):
    return text(LEFT, TOP + ROW * rows + 38, "blue: satchel; red: durable, too; grey: in memory alone", 'fill="#555555"')


def plot_rates(results, path):
    rows = sorted(((median(runs, rate), name, durable, spread(runs, rate)) for name, _, durable, runs in peer_rows(results)),
                  reverse=True)
    lines, at = frame("Tasks a second, from submission until finished", len(rows), 100, 2e5, "tasks a second")
    for i, (value, name, durable, (least, most)) in enumerate(rows):
        y = TOP + ROW * i
        lines.append(text(LEFT - 8, y + 17, name, 'text-anchor="end"'))
        lines.append(f'<rect x="{LEFT}" y="{y + 4}" width="{at(value) - LEFT:.1f}" height="{ROW - 10}" '
                     f'fill="{colour(name, durable)}"/>')
        lines.append(f'<line x1="{at(least):.1f}" y1="{y + ROW / 2 - 1}" x2="{at(most):.1f}" y2="{y + ROW / 2 - 1}" '
                     'stroke="black" stroke-width="1.5"/>')
        lines.append(text(max(at(value), at(most)) + 6, y + 17, number(value)))
    write_lines(path, lines + [legend(len(rows)), "</svg>"])


def plot_latencies(results, path):
    rows = [(median(runs, peer_latency("p50")), median(runs, peer_latency("p99")), name, durable)
            for name, _, durable, runs in peer_rows(results)]
    if results["satchel"].get("wait at 100/s"):
        runs = results["satchel"]["wait at 100/s"]
        rows.append((median(runs, latency("p50")), median(runs, latency("p99")), "satchel, 100 a second", "yes"))
    rows.sort()
    lines, at = frame("From submission to the answer that it is finished: p50 and p99", len(rows), 0.1, 10000, "milliseconds")
    for i, (half, most, name, durable) in enumerate(rows):
        y, shade = TOP + ROW * i + ROW / 2 - 1, colour(name, durable)
        lines.append(text(LEFT - 8, y + 4, name, 'text-anchor="end"'))
        lines.append(f'<line x1="{at(half):.1f}" y1="{y}" x2="{at(most):.1f}" y2="{y}" stroke="{shade}" stroke-width="4"/>')
        lines.append(f'<circle cx="{at(half):.1f}" cy="{y}" r="6" fill="{shade}"/>')
        lines.append(f'<circle cx="{at(most):.1f}" cy="{y}" r="4" fill="white" stroke="{shade}" stroke-width="2"/>')
        lines.append(text(at(most) + 10, y + 4, f"{number(half)} / {number(most)}"))
    write_lines(path, lines + [legend(len(rows)), "</svg>"])


def plot_scenarios(results, path):
    rows = [(median(runs, rate), name, spread(runs, rate)) for name, runs in results["satchel"].items()
            if name in TITLES and "at " not in name]
    lines, at = frame("satcheld by scenario: tasks (get: reads) a second", len(rows), 100, 2e5, "a second")
    for i, (value, name, (least, most)) in enumerate(sorted(rows, reverse=True)):
        y = TOP + ROW * i
        lines.append(text(LEFT - 8, y + 17, name, 'text-anchor="end"'))
        lines.append(f'<rect x="{LEFT}" y="{y + 4}" width="{at(value) - LEFT:.1f}" height="{ROW - 10}" fill="{COLOURS["satchel"]}"/>')
        lines.append(f'<line x1="{at(least):.1f}" y1="{y + ROW / 2 - 1}" x2="{at(most):.1f}" y2="{y + ROW / 2 - 1}" '
                     'stroke="black" stroke-width="1.5"/>')
        lines.append(text(max(at(value), at(most)) + 6, y + 17, number(value)))
    write_lines(path, lines + ["</svg>"])


def write_lines(path, lines):
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def write(results, base):
    """All of them, beside `base`; returns the markdown."""
    if peer_rows(results):
        plot_rates(results, base + "-rates.svg")
        plot_latencies(results, base + "-latencies.svg")
    if any(name in TITLES for name in results["satchel"]):
        plot_scenarios(results, base + "-scenarios.svg")
    page = markdown(results, base)
    write_lines(base + ".md", [page.rstrip("\n")])
    return page


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        print(write(json.load(file), os.path.splitext(sys.argv[1])[0]))

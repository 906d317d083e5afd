"""CPython's contextvars in the units of bench/context: medians in nanoseconds per call, the loop's own cost taken off.

    python3 bench/context.py [ROUNDS]
"""
import contextvars
import platform
import statistics
import sys
import timeit

CALLS = 100_000
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21


def median(statement, names):
    timer = timeit.Timer(statement, globals=names)
    return statistics.median(timer.repeat(rounds, CALLS)) / CALLS * 1e9


def main():
    print(f"CPython {platform.python_version()} contextvars")
    empty = median("pass", {})
    for bindings in (1, 100):
        variables = [contextvars.ContextVar(f"bench.variable.{i:03}") for i in range(bindings)]
        context = contextvars.Context()

        def measure():
            for variable in variables:
                variable.set("v")
            names = {"v": variables[bindings // 2], "copy": contextvars.copy_context,
                     "ctx": contextvars.Context(), "f": lambda: None}
            for name, statement in (
                ("get", "v.get()"),
                ("capture", "copy()"),
                ("run", "ctx.run(f)"),
                ("set", "v.set('w')"),
                ("set and reset", "v.reset(v.set('w'))"),
                ("capture and set", "c = copy(); v.set('w')"),
            ):
                print(f"{name:34} {bindings:8} {median(statement, names) - empty:9.1f}")

        context.run(measure)


main()

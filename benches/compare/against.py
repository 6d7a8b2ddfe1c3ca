"""This build beside another program: they take turns in pairs, and what counts is the ratio within each pair.

A machine that others use too, or that has two speeds, moves both sides of a pair alike. So the median of the paired ratios is
steadier than the ratio of two medians, and its spread says how much it may be trusted.
"""

import contextlib
import math
import resource
import statistics

import memory
from house import Missing, Server, end, say, usage
from peers import Postgres

PAIRS_MIN = 10


class Rounds:
    """Both programs, ready for one row. `measure(side)` gives the row's figures of one of them."""

    def __init__(self, house, stack, programs):
        self.house, self.stack, self.programs = house, stack, programs

    def serve(self, side, data=None, stack=None):
        """A running server of that side, until the row ends or the stack that is given."""
        server = Server(self.house, data or self.house.folder(side), program=self.programs[side])
        return (stack or self.stack).enter_context(server)

    def both(self, prepare=lambda server: None):
        """A server of each side that stays for the whole row."""
        servers = {side: self.serve(side) for side in self.programs}
        for server in servers.values():
            prepare(server)
        return servers


def catch_up(rounds):
    records = rounds.house.size(4_000_000, 1_000_000)
    read = ["subscribe", "s1", "--records", records, "--count", "sampled", "--threads", 1, "--seconds", 600]

    def prepare(server):
        server.fill("a1", records)
        server.make_stream("s1", "a1")
        server.bench(*read)

    servers = rounds.both(prepare)

    def measure(side):
        found = servers[side].bench(*read)
        return {"rate": found["recordsPerSecond"], "cpu": found["server"]["cpuMicrosPerRecord"]}

    return measure


def put(rounds):
    servers, numbers = rounds.both(), iter(range(10_000))

    def measure(side):
        # A trail of its own for each turn: none is longer than the other's.
        server, trail = servers[side], f"a{next(numbers)}"
        arguments = ["--callers", 8, "--operations", 100, "--seconds", rounds.house.size(4, 2)]
        found = server.bench("publish", trail, *arguments)
        server.ask("DELETE", f"/services/v2/trails/{trail}")
        latency = found["requestLatency"]["p50Micros"]
        return {"rate": found["transactionsPerSecond"], "p50": latency, "cpu": found["server"]["cpuMicrosPerRecord"]}

    return measure


def tail(rounds):
    records = rounds.house.size(200_000, 50_000)
    servers, numbers = rounds.both(), iter(range(10_000))

    def measure(side):
        server, number = servers[side], next(numbers)
        trail, stream = f"a{number}", f"s{number}"
        server.fill(trail, 1_000)
        server.make_stream(stream, trail)
        found = server.at_the_tail(stream, trail, 100, records, "--operations", 1000, "--callers", 4)
        server.ask("DELETE", f"/services/v2/stream/{stream}")
        server.ask("DELETE", f"/services/v2/trails/{trail}")
        return {"rate": found["recordsPerSecond"], "cpu": found["server"]["cpuMicrosPerRecord"]}

    return measure


def postgres(rounds):
    found = Postgres(rounds.house)
    rounds.stack.callback(end, found.process)
    return found


def latency(rounds):
    source = postgres(rounds)
    servers = rounds.both()

    def measure(side):
        arguments = ["--rate", 1000, "--seconds", rounds.house.size(5, 3), "--callers", 8]
        found = servers[side].bench("latency", *arguments, "--pg", source.url)["commitToSubscriber"]
        committing = servers[side].bench("latency", *arguments)["commit"]
        return {"p50": found["p50Micros"], "p99": found["p99Micros"], "put": committing["p50Micros"]}

    return measure


def capture(rounds):
    source = postgres(rounds)
    servers = rounds.both()
    arguments = ["--rows", rounds.house.size(200_000, 50_000), "--rows-a-transaction", 1000, "--record-bytes", 370]

    def measure(side):
        found = servers[side].bench("capture", *arguments, "--pg", source.url)
        return {"rate": found["rowsPerSecond"], "cpu": found["server"]["cpuMicrosPerRecord"]}

    return measure


def idle(rounds):
    sockets = rounds.house.size(5_000, 1_000)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < sockets + 1000:
        raise Missing(f"only {most} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def measure(side):
        with contextlib.ExitStack() as stack:
            server = rounds.serve(side, stack=stack)
            server.fill("a1", 1_000)
            server.make_stream("s1", "a1")
            server.bench("subscribe", "s1", "--subscribers", 10, "--seconds", 1, "--begin", "now")
            before = usage(server.pid)[1]
            arguments = ["--subscribers", sockets, "--begin", "now", "--warm-up", 1, "--seconds", 2]
            after = server.bench("subscribe", "s1", *arguments)["server"]["rssBytes"]
            return {"each": (after - before) / sockets}

    return measure


def memory_row(rounds):
    log_ins, connects = 400, rounds.house.size(80_000, 8_000)

    def measure(side):
        found = {}
        with contextlib.ExitStack() as stack:
            server = rounds.serve(side, stack=stack)
            found["start"] = memory.settled(server.pid)
            found["logIns"] = memory.after_log_ins(server, log_ins)
        with contextlib.ExitStack() as stack:
            server = rounds.serve(side, stack=stack)
            found["connects"] = memory.after_connects(server, connects)
        with contextlib.ExitStack() as stack:
            server = rounds.serve(side, stack=stack)
            server.fill("a1", 1_000)
            server.make_stream("s1", "a1")
            # At least a page, for a ratio.
            found["begun"] = max(memory.begun_messages(server, "s1", 500), 4_096)
        return found

    return measure


RATE, CPU = "rate", "cpu"
MB = 1e-6
# Name: what it is, how it is made ready, and its figures: what each says, its unit, the factor to it, whether more is better.
ROWS = {
    "catch-up": ("one subscriber reads a trail from its start", catch_up, {
        RATE: ("records a second", "M", 1e-6, True), CPU: ("processor time a record", "µs", 1, False)}),
    "put": ("8 callers put transactions of 100 operations", put, {
        RATE: ("transactions a second", "", 1, True), "p50": ("median answer", "µs", 1, False),
        CPU: ("processor time a record", "µs", 1, False)}),
    "tail": ("100 subscribers wait at the tail", tail, {
        RATE: ("records a second, together", "M", 1e-6, True), CPU: ("processor time a record", "µs", 1, False)}),
    "latency": ("1,000 transactions a second, one subscriber", latency, {
        "p50": ("PostgreSQL's commit to subscriber, median", "µs", 1, False),
        "p99": ("the same, 99th percentile", "µs", 1, False), "put": ("a put's answer, median", "µs", 1, False)}),
    "capture": ("PostgreSQL to trail, 1,000 rows a transaction", capture, {
        RATE: ("rows a second", "", 1, True), CPU: ("processor time a row", "µs", 1, False)}),
    "idle": ("sessions that wait for records", idle, {"each": ("resident memory each", "KB", 1e-3, False)}),
    "memory": ("resident memory", memory_row, {
        "start": ("after the start", "MB", MB, False), "logIns": ("after 400 wrong log-ins", "MB", MB, False),
        "connects": ("after {connects} connections, wrong log-ins between", "MB", MB, False),
        "begun": ("that 500 begun messages of clients add", "MB", MB, False)}),
}


def summary(ratios):
    """The median of the ratios, between which bounds the true one lies with 95 %, and how they are spread."""
    ordered, count = sorted(ratios), len(ratios)
    # How many of the ratios may lie beyond the bound on either side: of so many, each is above the true median or below it
    # as a coin falls.
    below, cut = 2.0**-count, 0
    while below <= 0.025:
        cut += 1
        below += math.comb(count, cut) * 2.0**-count
    quarter = statistics.quantiles(ordered, n=4)
    return {
        "median": statistics.median(ordered),
        "from": ordered[max(cut - 1, 0)], "to": ordered[min(count - cut, count - 1)],
        "quartiles": [quarter[0], quarter[2]], "least": ordered[0], "most": ordered[-1],
    }


def compare(house, programs, name, pairs):
    """One row: so many pairs, each begun by the other side than the one before."""
    what, prepare, figures = ROWS[name]
    found = []
    with contextlib.ExitStack() as stack:
        measure = prepare(Rounds(house, stack, programs))
        for number in range(pairs):
            order = list(programs) if number % 2 == 0 else list(programs)[::-1]
            pair = {side: measure(side) for side in order}
            found.append(pair)
            ratios = {figure: round(pair["this"][figure] / (pair["other"][figure] or 1), 3) for figure in figures}
            say(f"{name}, pair {number + 1} of {pairs}: {ratios}")
    row = {"row": name, "what": what, "pairs": found, "figures": {}}
    for figure, (text, unit, factor, more) in figures.items():
        both = [(pair["this"][figure], pair["other"][figure]) for pair in found]
        # A latency of 0 has no ratio: the clock of the measurement does not see it.
        ratios = [this / other for this, other in both if this and other]
        middle = [statistics.median(side) * factor for side in zip(*both)]
        text = text.format(connects=f"{house.size(80_000, 8_000):,}")
        row["figures"][figure] = {
            "what": text, "unit": unit, "better": "more" if more else "less", "this": middle[0], "other": middle[1],
            "ratio": summary(ratios) if len(ratios) >= PAIRS_MIN else None,
        }
    return row


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def table(report):
    about, programs = report["machine"], report["programs"]
    lines = [f"# This build beside another, {report['when']}", ""]
    lines += [f"{about['cores']} cores ({about['cpu']}), {about['memoryMB']:,} MB, Linux {about['kernel']}; load before the run "
              f"{about['load'][0]:.1f}. {report['pairs']} pairs a row. Both have to be built in the same profile.", ""]
    lines += [f"* {side}: `{one['path']}`, {one['version']}, {one['bytes']:,} bytes" for side, one in programs.items()] + [""]
    lines += ["| row | figure | this | other | this / other, median of the pairs | the true one, 95 % | half of them | all | better is |",
              "|---|---|---|---|---|---|---|---|---|"]
    for row in report["rows"]:
        for one in row["figures"].values():
            sides = [f"{number(one[side])} {one['unit']}".strip() for side in ("this", "other")]
            cells = [row["row"], one["what"], *sides]
            if spread := one["ratio"]:
                low, high = spread["quartiles"]
                cells += [f"**{spread['median']:.3f}**", f"{spread['from']:.3f} to {spread['to']:.3f}",
                          f"{low:.3f} to {high:.3f}", f"{spread['least']:.3f} to {spread['most']:.3f}"]
            else:
                cells += ["too few pairs have one", "", "", ""]
            lines.append("| " + " | ".join([*cells, one["better"]]) + " |")
    lines += [f"| {name} | missing: {why} | | | | | | | |" for name, why in report["missing"].items()]
    return "\n".join(lines) + "\n"

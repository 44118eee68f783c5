"""What race.py measured as a report in Markdown and as a picture.

usage: race_report.py RACE.json OUT     writes OUT.md and OUT.svg anew from the samples
"""

import html
import json
import math
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import outputs  # noqa: E402


class Result:
    """The medians of a contender in one setting; its samples are what load_with.py and the tool tell of themselves."""

    def __init__(self, entry):
        self.name, self.kind, self.setting = entry["name"], entry["kind"], entry["setting"]
        self.is_default = entry["is_default"]
        samples = entry["samples"]
        rates = [sample["bytes"] / sample["seconds"] / 1e9 for sample in samples]
        self.rate, self.least, self.most = statistics.median(rates), min(rates), max(rates)
        self.seconds = statistics.median(sample["seconds"] for sample in samples)
        whole = [sample["process_seconds"] for sample in samples if "process_seconds" in sample]
        self.process_seconds = statistics.median(whole) if whole else None
        self.cpu = statistics.median(sample["cpu_seconds"] / sample["bytes"] * 1e9 for sample in samples)
        self.resident = max(sample.get("peak_resident_bytes", 0) for sample in samples)


class Row:
    def __init__(self, row):
        self.title, self.bytes = row["title"], row["bytes"]
        self.size = f"{row['bytes'] / 1e9:.2f} GB in {row['tensors']:,} tensors"
        results = [Result(entry) for entry in row["entries"] if entry["samples"]]
        self.failures = [entry for entry in row["entries"] if entry["failure"]]
        self.limits = [result for result in results if result.kind == "limit"]
        self.racers = sorted((result for result in results if result.kind != "limit"),
                             key=lambda result: result.process_seconds)
        self.limit = max((result.rate for result in self.limits), default=None)
        self.sluice = next((result for result in self.racers if result.name == "sluice"), None)


def by_rate(result):
    return result.rate


def by_start(result):
    return -result.process_seconds


def cell(words):
    return words.replace("|", "/")


def bold(text, is_bold):
    return f"**{text}**" if is_bold else text


def overview(rows):
    """A line for each row: the fastest of every kind of sluice and of the peers, from exec and by the load alone."""
    ours = sorted({racer.name for row in rows for racer in row.racers if racer.kind == "sluice"}, key=len)
    heads = [f"{name}, {unit}" for unit in ("s", "GB/s") for name in [*ours, "best peer"]]
    yield f"| | limit, GB/s | {' | '.join(heads)} |"
    yield "| --- | ---: |" + " ---: |" * len(heads)
    for row in rows:
        cells = [f"{row.limit:.2f}" if row.limit else ""]
        for quality, figure in ((by_start, "process_seconds"), (by_rate, "rate")):
            first = max(row.racers, key=quality, default=None)
            for name in [*ours, None]:
                racers = [racer for racer in row.racers if (racer.name == name if name else racer.kind == "peer")]
                best = max(racers, key=quality, default=None)
                shown = bold(f"{getattr(best, figure):.2f}", best is first) if best else ""
                cells.append(shown if name or not best else f"{shown} {best.name}")
        yield f"| {row.title} | {' | '.join(cells)} |"


def table(row):
    yield ("| contender | setting | seconds from exec | of sluice's | load alone, GB/s | least to most | of the limit | "
           "CPU s/GB | peak resident MiB |")
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    first, fastest = (max(row.racers, key=quality, default=None) for quality in (by_start, by_rate))
    for result in row.limits + row.racers:
        whole, of_sluice = "", ""
        if result.process_seconds is not None:
            whole = bold(f"{result.process_seconds:.2f}", result is first)
            of_sluice = f"{result.process_seconds / row.sluice.process_seconds:.2f}" if row.sluice else ""
        share = f"{result.rate / row.limit:.2f}" if row.limit else ""
        resident = f"{result.resident / 2**20:.0f}" if result.resident else ""
        rate = bold(f"{result.rate:.2f}", result is fastest)
        yield (f"| {result.name} | {result.setting} | {whole} | {of_sluice} | {rate} | {result.least:.2f} to "
               f"{result.most:.2f} | {share} | {result.cpu:.3f} | {resident} |")
    for entry in row.failures:
        yield f"| {entry['name']} | {entry['setting']}; **failed**: {cell(entry['failure'])} | | | | | | | |"


def sweep(tried):
    """GB/s of the load alone, one run each; a contender's fastest is bold. By state, what each setting came to."""
    yield f"| contender | setting | {' | '.join(f'{state}, GB/s' for state in tried)} |"
    yield "| --- | --- |" + " ---: |" * len(tried)
    rates = {}  # (contender, setting) -> state -> rate
    for state, runs in tried.items():
        for run in runs:
            sample = run["sample"] or {"bytes": 0, "seconds": 1}
            rates.setdefault((run["name"], run["setting"]), {})[state] = sample["bytes"] / sample["seconds"] / 1e9
    for (name, setting), by_state in rates.items():
        cells = []
        for state in tried:
            best = max(of.get(state, 0) for (other, _), of in rates.items() if other == name)
            rate = by_state.get(state)
            cells.append(bold(f"{rate:.2f}", rate == best) if rate else "")
        yield f"| {name} | {setting} | {' | '.join(cells)} |"


def not_running(data):
    """Who could not be installed or run at all, and in which setting, with the reason."""
    yield from (f"- {name} could not be installed: {why}" for name, why in data["refused"].items())
    failures = {f"- {run['name']}, {run['setting']}: {run['failure']}": None
                for runs in data["sweeps"].values() for run in runs if run["failure"]}
    yield from failures


def rounds_of(data):
    return "1 round" if data["rounds"] == 1 else f"{data['rounds']} rounds"


def markdown(data, rows):
    lines = [
        "# The race", "", f"    {data['command']}", "",
        f"{data['machine']}; {data['when']}; medians of {rounds_of(data)}, all contenders of a row in turns, each start a "
        "process of its own. Seconds count from exec to every tensor in hand; the load alone leaves out the start of the "
        "program, for Python the imports. The limit is the best of what is measured for it. Bytes were proved by digests, "
        "and to be in each contender's own memory: what is only mapped, as load_file of safetensors gives it, was copied.",
        "", "## Who is ahead", "", *overview(rows), ""]
    absent = list(not_running(data))
    if absent:
        lines += ["## Who cannot run here", "", *absent, ""]
    for row in rows:
        lines += [f"## {row.title}", "", f"{row.size}.", "", *table(row), ""]
    lines += ["## The sweep beforehand", "", "GB/s of the load alone, one run of each setting with the first checkpoint; "
              "the fastest ran in the rounds.", "", *sweep(data["sweeps"])]
    return "\n".join(lines) + "\n"


# The picture: a panel for each row, in it a bar for each contender at its best, the fastest from exec on top.
PANEL_PX, LABEL_PX, BARS_PX, BAR_PX, STEP_PX, TOP_PX, MARGIN_PX = 500, 190, 180, 13, 19, 56, 18
COLOURS = {"sluice": ("#90b4de", "#2b6cb0"), "peer": ("#d6dce4", "#718096")}  # the program's start, the load
INK, PALE, GRID, DEFAULTS = "#1a202c", "#718096", "#e2e8f0", "#c05621"


def text(x, y, words, size=12, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{html.escape(words)}</text>')


def line(x1, y1, x2, y2, colour, width):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def box(x, y, width, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{BAR_PX}" fill="{colour}"/>'


def step_of(most):
    """A round distance of marks on an axis, such that there are three to seven."""
    power = 10 ** math.floor(math.log10(most / 7))
    return next(step * power for step in (1, 2, 5, 10) if most / (step * power) <= 7)


def panel(row, left, top):
    """Shapes, and where they end."""
    by_name = {}
    for result in row.racers:
        by_name.setdefault(result.name, []).append(result)
    bars = sorted((max(results, key=by_rate) for results in by_name.values()), key=by_start, reverse=True)
    most = 1.02 * max(result.process_seconds for result in row.racers)
    zero = left + LABEL_PX
    x_of = lambda seconds: zero + BARS_PX * seconds / most  # noqa: E731
    bottom = top + 24 + STEP_PX * len(bars)
    shapes = [text(left, top + 12, row.title, 14, weight="bold"),
              text(left + PANEL_PX - MARGIN_PX, top + 12, row.size, 11, PALE, "end")]
    for mark in range(int(most / step_of(most)) + 1):
        seconds = mark * step_of(most)
        shapes += [line(x_of(seconds), top + 20, x_of(seconds), bottom, GRID, 1),
                   text(x_of(seconds), bottom + 12, f"{seconds:g} s", 10, PALE, "middle")]
    fastest = max(bars, key=by_rate)
    for number, bar in enumerate(bars):
        y = top + 24 + STEP_PX * number
        start, load = COLOURS[bar.kind]
        end, begun = x_of(bar.process_seconds), x_of(max(0, bar.process_seconds - bar.seconds))
        shapes += [text(zero - 6, y + 10, bar.name, 11, load if bar.kind == "sluice" else INK, "end"),
                   box(zero, y, begun - zero, start), box(begun, y, end - begun, load),
                   text(zero + BARS_PX + 6, y + 10, f"{bar.process_seconds:.2f} s", 11,
                        weight="normal" if number else "bold"),
                   text(left + PANEL_PX - MARGIN_PX, y + 10, f"{bar.rate:.2f} GB/s", 11, PALE, "end",
                        "bold" if bar is fastest else "normal")]
        for other in by_name[bar.name]:
            if other is not bar and other.is_default:
                x = x_of(other.process_seconds)
                shapes.append(line(x, y, x, y + BAR_PX, DEFAULTS, 2))
    if row.limit:
        x = x_of(row.bytes / row.limit / 1e9)
        shapes.append(line(x, top + 18, x, bottom, INK, 2))
    return shapes, bottom + 30


def picture(data, rows):
    rows = [row for row in rows if row.racers]
    shapes, y = [], TOP_PX
    for pair in (rows[at:at + 2] for at in range(0, len(rows), 2)):
        ends = []
        for column, row in enumerate(pair):
            drawn, end = panel(row, MARGIN_PX + column * PANEL_PX, y)
            shapes += drawn
            ends.append(end)
        y = max(ends)
    width = 2 * MARGIN_PX + 2 * PANEL_PX
    notes = ["Pale: the program's start, for Python with its imports. Full: the load, whose GB/s stand at the right. "
             "Black line: what the machine's limit would take for the bytes alone.",
             "Of every loader the faster of its defaults and its best setting; orange line: its defaults, where they are "
             "slower. Each start is a process of its own.",
             f"{data['machine']}; {data['when']}; medians of {rounds_of(data)}. Digests prove the bytes."]
    shapes = [text(MARGIN_PX, 28, "From exec to every tensor in host memory", 18, weight="bold"), *shapes,
              *(text(MARGIN_PX, y + 16 * number, note, 11, PALE) for number, note in enumerate(notes))]
    height = y + 16 * len(notes) + 4
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui, sans-serif">')
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *shapes, "</svg>", ""])


def write(data, out):
    rows = [Row(row) for row in data["rows"]]
    outputs.write_file(f"{out}.md", markdown(data, rows), "# The race")
    outputs.write_file(f"{out}.svg", picture(data, rows), "<svg ")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2])

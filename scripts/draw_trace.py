#!/usr/bin/env python3
"""Draws reads, copies and kernels of a trace as an SVG picture, a row for each, with the numbers of extents in the bars.

Usage: draw_trace.py TRACE.json PICTURE.svg [TITLE]
TRACE.json is what `sluice load --trace` writes. Nothing but Python's standard library is needed.
"""

import html
import json
import math
import re
import sys

import outputs

COLOURS = {"read": "#4477aa", "copy": "#ee7733", "deliver": "#228833", "populate": "#bbbbbb"}
LABELS_PX, WIDTH_PX, BAR_PX, GAP_PX, TOP_PX, MARGIN_PX = 120, 860, 18, 10, 34, 12
DIGIT_PX = 6.5


def rows_of(trace):
    """{row: [thread, ...]}, a thread being its spans as (begin, end, name, extent) in milliseconds. A trace spreads a
    row whose spans overlap over threads that it numbers."""
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    threads = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X" and event["name"] in COLOURS:
            begin = event["ts"] / 1e3
            span = (begin, begin + event["dur"] / 1e3, event["name"], event["args"].get("extent"))
            threads.setdefault(event["tid"], []).append(span)
    rows = {}
    for tid in sorted(threads):
        rows.setdefault(re.sub(r" \d+$", "", names[tid]), []).append(threads[tid])
    return rows


def step_of(duration):
    """A round distance of marks on the axis, such that there are 5 to 12."""
    power = 10 ** math.floor(math.log10(duration / 12))
    return next(step * power for step in (1, 2, 5, 10) if duration / (step * power) <= 12)


def draw(rows, title):
    spans = [span for threads in rows.values() for thread in threads for span in thread]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    x_of = lambda time: LABELS_PX + (time - first) / (last - first) * WIDTH_PX
    shapes, y = [], TOP_PX
    for name, threads in rows.items():
        bar_px = BAR_PX if len(threads) == 1 else BAR_PX // 2
        height = len(threads) * bar_px
        shapes.append(f'<text x="{LABELS_PX - 8}" y="{y + height / 2 + 4:g}" text-anchor="end">'
                      f'{html.escape(name)}</text>')
        for thread in threads:
            for begin, end, what, extent in thread:
                x, width = x_of(begin), max(1.5, x_of(end) - x_of(begin) - 0.5)
                shapes.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{bar_px - 1}" '
                              f'fill="{COLOURS[what]}"><title>{what}, extent {extent}: {begin - first:.3f} to '
                              f'{end - first:.3f} ms</title></rect>')
                if bar_px == BAR_PX and extent is not None and width > DIGIT_PX * len(str(extent)) + 4:
                    shapes.append(f'<text x="{x + width / 2:.1f}" y="{y + 13}" class="number">{extent}</text>')
            y += bar_px
        y += GAP_PX
    marks, step = [], step_of(last - first)
    for time in (step * number for number in range(int((last - first) / step) + 1)):
        x = x_of(first + time)
        marks.append(f'<line x1="{x:.1f}" y1="{TOP_PX - 4}" x2="{x:.1f}" y2="{y - 4}" stroke="#dddddd"/>'
                     f'<text x="{x:.1f}" y="{y + 10}" class="mark">{time:g} ms</text>')
    width, height = LABELS_PX + WIDTH_PX + 2 * MARGIN_PX, y + 20
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<style>text { font: 12px sans-serif; fill: #222222 } .number { fill: #ffffff; font-size: 11px; "
        "text-anchor: middle } .mark { fill: #777777; font-size: 10px; text-anchor: middle }</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN_PX}" y="18">{html.escape(title)}</text>', *marks, *shapes, "</svg>", ""])


def main(arguments):
    if len(arguments) not in (2, 3):
        sys.exit(__doc__)
    with open(arguments[0], encoding="utf-8") as file:
        rows = rows_of(json.load(file))
    if not rows:
        sys.exit(f"{arguments[0]}: nothing was read, copied or delivered in it")
    outputs.write_file(arguments[1], draw(rows, arguments[2] if len(arguments) == 3 else ""), "<svg ")


if __name__ == "__main__":
    main(sys.argv[1:])

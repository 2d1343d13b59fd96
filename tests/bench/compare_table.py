#!/usr/bin/env python3
"""The table and the plot of what compare.py measured: medians over the rounds, and medians of the ratios of each round.

    python3 tests/bench/compare_table.py RESULT.json [PLOT.svg]
"""

import json
import math
import pathlib
import statistics
import sys

OURS = "Ropeway"
TITLES = {"engine": "", "busy": "beside two busy processes: ", "served": "", "served_busy": "beside two busy processes: ",
          "large": "Llama-1B shape, Q8_0: "}
COLOURS = ("#1f5fbf", "#d9822b", "#4c9f57")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 70, 50, 50, 20


def title(group, name):
    if name.startswith("Prefill/"):
        what = f"prompt of {int(name.partition('/')[2]):,}"
    elif name.startswith("Served/"):
        what = f"served, 128 tokens in, 64 out, {name.partition('/')[2]} streams"
    else:
        what = f"decode of {name.split(':')[1].partition('/')[0]} streams"
    return TITLES[group] + what


def rows_of(result):
    """(group, name) to the rates of each peer, a list over rounds, in the order in which they were measured."""
    rows = {}
    for part in result["rounds"]:
        for peer, rates in part["rates"].items():
            for name, rate in rates.items():
                rows.setdefault((part["group"], name), {}).setdefault(peer, []).append(rate)
    return rows


def peers_of(result):
    return list(dict.fromkeys(peer for part in result["rounds"] for peer in part["rates"]))


def table(result):
    others = [peer for peer in peers_of(result) if peer != OURS]
    lines = [f"{result['model']}, {result['threads']} threads; {result['machine']}; {result['date']}; tokens per second", "",
             "| | Ropeway | " + "".join(f"{peer} | ratio | " for peer in others).rstrip(), "|---|---|" + "---|---|" * len(others)]
    for (group, name), rates in rows_of(result).items():
        cells = [title(group, name), f"{statistics.median(rates[OURS]):,.0f}"]
        for peer in others:
            if peer not in rates:
                cells += ["-", "-"]
                continue
            ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[OURS], rates[peer]))
            cells += [f"{statistics.median(rates[peer]):,.0f}", f"{ratio:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(result):
    """Speed of prompts by their length, a line for each peer; lengths on a logarithmic axis."""
    curves = {}
    for (group, name), rates in rows_of(result).items():
        if group == "engine" and name.startswith("Prefill/"):
            for peer, values in rates.items():
                curves.setdefault(peer, []).append((int(name.partition("/")[2]), statistics.median(values)))
    lengths = sorted({length for curve in curves.values() for length, _ in curve})
    most = max((rate for curve in curves.values() for _, rate in curve), default=1)
    top = math.ceil(most / 500) * 500
    x = lambda length: LEFT + (WIDTH - LEFT - RIGHT) * math.log(length / lengths[0]) / math.log(lengths[-1] / lengths[0])
    y = lambda rate: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / top
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20">Prompts of {result["model"]}: tokens per second by length, {result["threads"]} threads</text>']
    for rate in range(0, top + 1, 500):
        parts += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(rate):.1f}" y2="{y(rate):.1f}" stroke="#dddddd"/>',
                  f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:,}</text>']
    for length in lengths:
        parts.append(f'<text x="{x(length):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{length:,}</text>')
    for i, (peer, curve) in enumerate(curves.items()):
        points = " ".join(f"{x(length):.1f},{y(rate):.1f}" for length, rate in sorted(curve))
        colour = COLOURS[i % len(COLOURS)]
        parts += [f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
                  f'<text x="{LEFT + 150 * i}" y="40" fill="{colour}">{peer}</text>']
        parts += [f'<circle cx="{x(length):.1f}" cy="{y(rate):.1f}" r="3" fill="{colour}"/>' for length, rate in curve]
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    result = json.loads(pathlib.Path(sys.argv[1]).read_text())
    print(table(result))
    if len(sys.argv) > 2:
        pathlib.Path(sys.argv[2]).write_text(plot(result))


if __name__ == "__main__":
    main()

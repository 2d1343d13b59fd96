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


def streams(count):
    return f"{count} stream" if count == "1" else f"{count} streams"


def title(group, name):
    if name.startswith("Prefill/"):
        what = f"prompt of {int(name.partition('/')[2]):,}"
    elif name.startswith("Served/"):
        what = f"served: {streams(name.partition('/')[2])}"
    else:
        what = f"decode of {streams(name.split(':')[1].partition('/')[0])}"
    return TITLES[group] + what


def rows_of(result):
    """(group, name) to a list over rounds of the rate of each peer that was measured then."""
    rows = {}
    for part in result["rounds"]:
        for name in part["rates"][OURS]:
            rates = {peer: of_peer[name] for peer, of_peer in part["rates"].items() if name in of_peer}
            rows.setdefault((part["group"], name), []).append(rates)
    return rows


def median(rounds, value_of, peer):
    """Over the rounds that have the peer; None where there are none."""
    values = [value_of(rates) for rates in rounds if peer in rates]
    return statistics.median(values) if values else None


def peers_of(result):
    return list(dict.fromkeys(peer for part in result["rounds"] for peer in part["rates"]))


def table(result):
    others = [peer for peer in peers_of(result) if peer != OURS]
    lines = [f"{result['model']}, {result['threads']} threads; {result['machine']}; {result['date']}; tokens per second", "",
             "| | Ropeway | " + "".join(f"{peer} | ratio | " for peer in others).rstrip(), "|---|---|" + "---|---|" * len(others)]
    for (group, name), rounds in rows_of(result).items():
        cells = [title(group, name), f"{median(rounds, lambda rates: rates[OURS], OURS):,.0f}"]
        for peer in others:
            rate = median(rounds, lambda rates, peer=peer: rates[peer], peer)
            ratio = median(rounds, lambda rates, peer=peer: rates[OURS] / rates[peer], peer)
            cells += ["-", "-"] if rate is None else [f"{rate:,.0f}", f"{ratio:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(curve):
    """Of (length, tokens per second): (depth, milliseconds of a token there), from what a prompt takes longer than a shorter one."""
    times = [(0, 0.0)] + [(length, length / rate) for length, rate in sorted(curve)]
    return [((before + length) / 2, (time - time_before) * 1000 / (length - before))
            for (before, time_before), (length, time) in zip(times, times[1:])]


def curves_of(result):
    curves = {}
    for (group, name), rounds in rows_of(result).items():
        if group == "engine" and name.startswith("Prefill/"):
            for peer in peers_of(result):
                rate = median(rounds, lambda rates, peer=peer: rates[peer], peer)
                if rate is not None:
                    curves.setdefault(peer, []).append((int(name.partition("/")[2]), rate))
    return {peer: costs(curve) for peer, curve in curves.items()}


def plot(result):
    """What a token of a prompt costs by its depth, a line for each peer; costs on a logarithmic axis."""
    curves = curves_of(result)
    points = [point for curve in curves.values() for point in curve] or [(1, 1)]
    deepest = max(depth for depth, _ in points)
    least, most = min(cost for _, cost in points), max(cost for _, cost in points)
    ticks = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
    low, high = max(tick for tick in ticks if tick <= least), min(tick for tick in ticks if tick > most)
    x = lambda depth: LEFT + (WIDTH - LEFT - RIGHT) * depth / deepest
    y = lambda cost: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(cost / low) / math.log(high / low)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20">{result["model"]}, {result["threads"]} threads: milliseconds of a token of a prompt, by its '
             "depth</text>"]
    for cost in (tick for tick in ticks if low <= tick <= high):
        parts += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(cost):.1f}" y2="{y(cost):.1f}" stroke="#dddddd"/>',
                  f'<text x="{LEFT - 8}" y="{y(cost) + 4:.1f}" text-anchor="end">{cost:g}</text>']
    for depth in range(0, int(deepest) + 1, 1000):
        parts.append(f'<text x="{x(depth):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{depth:,}</text>')
    for i, (peer, curve) in enumerate(curves.items()):
        line = " ".join(f"{x(depth):.1f},{y(cost):.1f}" for depth, cost in curve)
        colour = COLOURS[i % len(COLOURS)]
        parts += [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
                  f'<text x="{LEFT + 150 * i}" y="40" fill="{colour}">{peer}</text>']
        parts += [f'<circle cx="{x(depth):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}"/>' for depth, cost in curve]
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    result = json.loads(pathlib.Path(sys.argv[1]).read_text())
    print(table(result))
    if len(sys.argv) > 2:
        pathlib.Path(sys.argv[2]).write_text(plot(result))


if __name__ == "__main__":
    main()

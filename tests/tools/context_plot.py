#!/usr/bin/env python3
"""Perplexity against position, far beyond the context of a model, under several scalings of its rotary embedding: the plot of
docs/context_extension.md.

    python3 tests/tools/context_plot.py MODEL --factor 2 --out docs/context_extension.svg TEXT...

One sequence, of factor times the model's context or --length tokens, from the texts one after the other, goes through
`ropeway_inspect logits` once for each scaling, and the tokens beyond the context once more as the end of a sequence that is no longer than that: what
they cost a model that is not beyond its context. What it says is kept beside the plot as .json, and is taken from there where it is for the same tokens.
Needs nothing but Python.
"""

import argparse
import hashlib
import json
import math
import pathlib
import re
import subprocess
import sys

COLOURS = {"within": "#000000", "none": "#7f7f7f", "linear": "#d62728", "ntk": "#ff7f0e", "yarn": "#1f77b4", "dynamic": "#2ca02c"}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 420, 60, 24, 130, 48


def ask(inspect, command, model, request, *flags):
    """The answer to one line of JSON."""
    run = subprocess.run([inspect, command, model, *flags], input=json.dumps(request) + "\n", text=True, check=True,
                         stdout=subprocess.PIPE)
    answer = json.loads(run.stdout)
    if "error" in answer:
        sys.exit(f"context_plot.py: {answer['error']}")
    return answer


def context_of(inspect, model):
    info = subprocess.run([inspect, "info", model], text=True, check=True, stdout=subprocess.PIPE).stdout
    return int(re.search(r"^  context (\d+)$", info, re.MULTILINE).group(1))


def perplexities(logprobs, window):
    """Of every window of so many positions, each half a window further: (middle, perplexity)."""
    points = []
    for first in range(0, len(logprobs) - window + 1, window // 2):
        points.append((first + window // 2, math.exp(-sum(logprobs[first:first + window]) / window)))
    return points


def polyline(points, x, y, colour):
    path = " ".join(f"{x(position):.1f},{y(value):.1f}" for position, value in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def svg(curves, context, length, title):
    top = 10 ** math.ceil(math.log10(max(value for points in curves.values() for _, value in points)))
    bottom = min(value for points in curves.values() for _, value in points) / 1.3

    def x(position):
        return LEFT + (WIDTH - LEFT - RIGHT) * position / length

    def y(value):
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(top / value) / math.log(top / bottom)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
             f'<text x="{LEFT}" y="15">{title}</text>']
    ticks = [step * 10 ** power for power in range(-1, 7) for step in (1, 2, 5)]
    for value in (tick for tick in ticks if bottom <= tick <= top):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for position in range(0, length + 1, length // 8):
        parts.append(f'<text x="{x(position):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{position}</text>')
    parts.append(f'<line x1="{x(context):.1f}" x2="{x(context):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="black" '
                 f'stroke-dasharray="4 4"/><text x="{x(context) + 4:.1f}" y="{TOP + 14}">trained up to here</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">position</text>')
    for row, (name, points) in enumerate(curves.items()):
        colour = COLOURS[name.split(":")[0]]
        label = f"{context} at most" if name == "within" else name
        at = TOP + 20 + 20 * row
        parts.append(polyline(points, x, y, colour))
        parts.append(f'<line x1="{WIDTH - RIGHT + 8}" x2="{WIDTH - RIGHT + 26}" y1="{at - 4}" y2="{at - 4}" '
                     f'stroke="{colour}" stroke-width="3"/><text x="{WIDTH - RIGHT + 30}" y="{at}">{label}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+", type=pathlib.Path)
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--length", type=int, default=0, help="tokens; 0: all of the longer context")
    parser.add_argument("--kinds", nargs="+", default=["none", "linear", "ntk", "yarn"])
    parser.add_argument("--window", type=int, default=1024, help="positions whose perplexity is one point")
    parser.add_argument("--threads", default="0")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--inspect", default="build/release/bin/ropeway_inspect")
    options = parser.parse_args()

    context = context_of(options.inspect, options.model)
    length = options.length or options.factor * context
    text = "\n\n".join(path.read_text() for path in options.texts)
    ids = ask(options.inspect, "tokenize", options.model, {"text": text})["ids"][:length]
    if len(ids) < length:
        sys.exit(f"context_plot.py: the texts must have {length} tokens, have {len(ids)}")
    kept = options.out.with_suffix(".json")
    known = json.loads(kept.read_text()) if kept.exists() else {}
    asked = {"model": pathlib.Path(options.model).name, "context": context, "window": options.window,
             "ids": hashlib.sha256(json.dumps(ids).encode()).hexdigest()}
    if {key: known.get(key) for key in asked} != asked:
        known = asked | {"curves": {}}
    for kind in options.kinds:
        scaling = f"{kind}:factor={options.factor}"
        if scaling not in known["curves"]:
            answer = ask(options.inspect, "logits", options.model, {"ids": ids, "last": 1}, "--rope_scaling", scaling,
                         "--threads", options.threads)
            known["curves"][scaling] = perplexities(answer["logprobs"], options.window)
            kept.write_text(json.dumps(known))
    if "within" not in known["curves"]:
        start = length - context
        answer = ask(options.inspect, "logits", options.model, {"ids": ids[start:], "last": 1}, "--threads",
                     options.threads)
        # The first log-probability is that of the second token, which may be beyond the context already.
        first = max(context - start - 1, 0)
        beyond = perplexities(answer["logprobs"][first:], options.window)
        known["curves"]["within"] = [(position + start + 1 + first, value) for position, value in beyond]
        kept.write_text(json.dumps(known))
    curves = {"within": known["curves"]["within"]}
    curves |= {scaling: known["curves"][scaling] for scaling in (f"{k}:factor={options.factor}" for k in options.kinds)}
    title = f"{pathlib.Path(options.model).name}: perplexity of windows of {options.window} tokens"
    options.out.write_text(svg(curves, context, length, title))
    for scaling, points in curves.items():
        inside = [math.log(value) for position, value in points if position + options.window // 2 <= context]
        beyond = [math.log(value) for position, value in points if position - options.window // 2 >= context]
        means = [f"{math.exp(sum(logs) / len(logs)):.1f} {where}"
                 for logs, where in ((inside, f"up to {context}"), (beyond, "beyond")) if logs]
        print(f"{scaling}: {', '.join(means)}")


if __name__ == "__main__":
    main()

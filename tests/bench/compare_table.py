"""Prints the table of compare.sh from the logs of its rounds: medians, and the median of the ratios of each round."""

import json
import pathlib
import statistics
import sys


def ours(path):
    """Tokens per second by benchmark name, of Google Benchmark's JSON."""
    return {b["name"].removesuffix("/real_time"): b["items_per_second"] for b in json.loads(path.read_text())["benchmarks"]}


def peer(folder, number):
    """The same names, of llama-bench's and llama-batched-bench's JSON."""
    rates = {}
    for entry in json.loads((folder / f"prefill.{number}").read_text()):
        rates[f"Prefill/{entry['n_prompt']}"] = entry["avg_ts"]
    for line in (folder / f"decode.{number}").read_text().splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            rates[f"Decode/streams:{entry['pl']}/context:{entry['pp']}"] = entry["speed_tg"]
    return rates


def main():
    folder, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    pairs = [(ours(folder / f"ours.{i}"), peer(folder, i)) for i in range(1, rounds + 1)]
    print("| tokens/s | Ropeway | llama.cpp | ratio |\n|---|---|---|---|")
    for name in pairs[0][0]:
        if name not in pairs[0][1]:
            print(f"| {name} | {statistics.median(pair[0][name] for pair in pairs):.0f} | - | - |")
            continue
        mine, theirs = ([pair[i][name] for pair in pairs] for i in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(mine, theirs))
        print(f"| {name} | {statistics.median(mine):.0f} | {statistics.median(theirs):.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()

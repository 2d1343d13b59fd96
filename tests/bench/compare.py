#!/usr/bin/env python3
"""Measures what compare.sh compares, and writes the table, a JSON file and a plot. See compare.sh."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import compare_table

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = TOP / "build/release/bin"

DECODE = tuple(f"Decode/streams:{streams}/context:128" for streams in (1, 8, 32))
SERVED = tuple(f"Served/{streams}" for streams in (1, 8, 32))
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 64  # of what is served

# Of each group: what is measured, on which model, and beside how many busy processes.
GROUPS = {
    "engine": (tuple(f"Prefill/{tokens}" for tokens in (512, 2048, 4096, 8000)) + DECODE, "model", 0),
    "busy": (("Prefill/512",) + DECODE, "model", 2),
    "served": (SERVED, "model", 0),
    "served_busy": (SERVED, "model", 2),
    "large": (("Prefill/512",) + DECODE, "large_model", 0),
}


def output(command, **settings):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, **settings).stdout


@contextlib.contextmanager
def busy_processes(count):
    """Neighbours that want a whole processor each."""
    neighbours = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


@contextlib.contextmanager
def running(command, log):
    with log.open("w") as file, subprocess.Popen([str(part) for part in command], stdout=file, stderr=file) as server:
        try:
            yield
        finally:
            server.terminate()


def load(server, streams, *flags):
    """Tokens per second of answers, from `ropeway bench`."""
    requests = max(8, 2 * streams)
    report = output([BIN / "ropeway", "bench", "--server", server, "--concurrency", streams, "--requests", requests,
                     "--prompt_tokens", PROMPT_TOKENS, "--output_tokens", OUTPUT_TOKENS, "--vocab_size", 40000, "--json", *flags])
    return json.loads(report)["output_throughput"]


class Ropeway:
    name = "Ropeway"

    def __init__(self, threads):
        self.threads = threads

    def engine(self, model, names):
        wanted = "|".join(re.escape(name) for name in names)
        report = output([BIN / "engine_bench", f"--model={model}", f"--threads={self.threads}", "--benchmark_format=json",
                         f"--benchmark_filter=^({wanted})/real_time$"], stderr=subprocess.DEVNULL)
        return {row["name"].removesuffix("/real_time"): row["items_per_second"] for row in json.loads(report)["benchmarks"]}

    def served(self, model, names, folder):
        server = "127.0.0.1:50151"
        command = [BIN / "ropeway_server", "--model", model, "--listen", server, "--metrics_listen", "", "--device", "cpu",
                   "--threads", self.threads]
        with running(command, folder / "ropeway.log"):
            output([BIN / "ropeway", "health", "--server", server, "--wait", "120"])
            return {name: load(server, int(name.rpartition("/")[2])) for name in names}


class OpenVino:
    name = "OpenVINO GenAI"

    def __init__(self, threads):
        self.threads = threads
        self.python = os.environ.get("OPENVINO_PYTHON", str(TOP / "build/openvino/bin/python"))
        self.is_there = shutil.which(self.python) is not None and subprocess.run(
            [self.python, "-c", "import openvino_genai"], stderr=subprocess.DEVNULL, check=False).returncode == 0

    def engine(self, model, names):
        report = output([self.python, TOP / "tests/bench/openvino_bench.py", model, self.threads, *names],
                        stderr=subprocess.DEVNULL)
        return json.loads(report)

    def served(self, model, names, _):
        """In its own process: it has no server."""
        return self.engine(model, names)


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, threads):
        self.threads = threads
        self.bin = pathlib.Path(os.environ.get("LLAMA_BIN", TOP / "build/llama.cpp/bin"))
        self.is_there = (self.bin / "llama-batched-bench").exists()

    def engine(self, model, names):
        rates = {}
        prompts = [name.partition("/")[2] for name in names if name.startswith("Prefill/")]
        streams = [re.search(r"streams:(\d+)", name)[1] for name in names if name.startswith("Decode/")]
        report = output([self.bin / "llama-bench", "-m", model, "-t", self.threads, "-p", ",".join(prompts), "-n", "0", "-r", "1",
                         "-o", "json"], stderr=subprocess.DEVNULL)
        for row in json.loads(report):
            rates[f"Prefill/{row['n_prompt']}"] = row["avg_ts"]
        report = output([self.bin / "llama-batched-bench", "-m", model, "-t", self.threads, "-c", "8192", "-b", "2048", "-ub", "512",
                         "-npp", "128", "-ntg", "64", "-npl", ",".join(streams), "--output-format", "jsonl"], stderr=subprocess.DEVNULL)
        for line in report.splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                rates[f"Decode/streams:{row['pl']}/context:{row['pp']}"] = row["speed_tg"]
        return {name: rates[name] for name in names}

    def served(self, model, names, folder):
        host, port = "127.0.0.1", "50152"
        # As many slots as there are streams, each with room for its request; prompts are not kept.
        command = [self.bin / "llama-server", "-m", model, "--host", host, "--port", port, "-t", self.threads, "--parallel", "32",
                   "--kv-unified", "-c", 32 * (PROMPT_TOKENS + OUTPUT_TOKENS + 16), "--cache-ram", "0", "--no-cache-prompt"]
        with running(command, folder / "llama.log"):
            output(["curl", "-fsS", "--retry", "60", "--retry-delay", "1", "--retry-all-errors", f"http://{host}:{port}/health"],
                   stderr=subprocess.DEVNULL)
            return {name: load(f"{host}:{port}", int(name.rpartition("/")[2]), "--backend", "openai") for name in names}


def measure(peer, group, options, folder):
    """Rates by name; none of a peer that fails, so that the minutes of the others are not lost."""
    names, model, neighbours = GROUPS[group]
    with busy_processes(neighbours):
        try:
            if group.startswith("served"):
                return peer.served(getattr(options, model), names, folder)
            return peer.engine(getattr(options, model), names)
        except subprocess.CalledProcessError as error:
            if isinstance(peer, Ropeway):
                raise
            print(f"compare.py: {peer.name} failed: {shlex.join(error.cmd)}", file=sys.stderr)
            return {}


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} processors, {cpu[1] if cpu else 'unknown'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--large_model", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--groups", default=",".join(GROUPS), help="some of " + ", ".join(GROUPS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=pathlib.Path, help="what was measured; rounds of a file that is there are kept")
    parser.add_argument("--svg", type=pathlib.Path, help="a plot of what a token of a prompt costs at depth")
    options = parser.parse_args()
    groups = options.groups.split(",")
    if unknown := [group for group in groups if group not in GROUPS]:
        parser.error(f"unknown groups: {', '.join(unknown)}")

    peers = [Ropeway(options.threads)]
    for peer in (OpenVino(options.threads), LlamaCpp(options.threads)):
        if peer.is_there:
            peers.append(peer)
        else:
            print(f"compare.py: no {peer.name} here: see compare.sh", file=sys.stderr)
    result = {"machine": machine(), "date": datetime.date.today().isoformat(), "threads": options.threads,
              "model": pathlib.Path(options.model).name, "rounds": []}
    if options.json and options.json.exists():
        result["rounds"] = json.loads(options.json.read_text())["rounds"]
    folder = pathlib.Path(tempfile.mkdtemp())
    for number in range(options.rounds):
        for group in groups:
            print(f"round {number + 1} of {options.rounds}: {group}", file=sys.stderr)
            result["rounds"].append({"group": group, "rates": {peer.name: measure(peer, group, options, folder) for peer in peers}})
            if options.json:
                options.json.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder)
    print(compare_table.table(result))
    if options.svg:
        options.svg.write_text(compare_table.plot(result))


if __name__ == "__main__":
    main()

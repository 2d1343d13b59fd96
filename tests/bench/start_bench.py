#!/usr/bin/env python3
"""From exec to the first token: starts the server on a model in the page cache, asks for one token as soon as it serves, and
prints the median and the range of some starts, in milliseconds, the client's own start included.

    python3 tests/bench/start_bench.py MODEL [--starts 5] [--json] [-- FLAGS OF THE SERVER, such as --pack_cache=DIR]

One start before those that are counted reads the file and, with --pack_cache, writes what it packs.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import time

BIN = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin"


def start(model, flags):
    """Milliseconds until the server serves, and until the client has its token."""
    begin = time.monotonic()
    command = [BIN / "ropeway_server", "--model", model, "--listen", "127.0.0.1:0", "--metrics_listen", "", "--device", "cpu"]
    with subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True) as server:
        port, log = None, []
        for line in server.stderr:
            log.append(line)
            if " listening on " in line:
                port = re.search(r" port=(\d+)", line)[1]
            if " info serving " in line:
                break
        else:
            raise SystemExit("start_bench.py: the server did not start: " + "".join(log[-1:]).strip())
        serving = time.monotonic()
        subprocess.run([BIN / "ropeway", "generate", "--server", f"127.0.0.1:{port}", "--max_tokens", "1", "--prompt", "Hello"],
                       check=True, stdout=subprocess.DEVNULL)
        answered = time.monotonic()
        server.terminate()
        server.stderr.read()
    return (serving - begin) * 1000, (answered - begin) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    start(options.model, options.flags)
    serving, first_token = zip(*(start(options.model, options.flags) for _ in range(options.starts)))
    if options.json:
        print(json.dumps({"serving_ms": serving, "first_token_ms": first_token}))
        return
    for name, times in (("serving", serving), ("first token", first_token)):
        print(f"{name}: median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f}")


if __name__ == "__main__":
    main()

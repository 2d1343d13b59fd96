#!/usr/bin/env python3
"""A live Prometheus scrapes a live server under load: every query of the dashboard brings data, no alert is broken.

Usage: live_prometheus_test.py BIN_FOLDER [--server HOST:PORT --metrics HOST:PORT]

BIN_FOLDER has ropeway and ropeway_server. Without --server, a server of the small model is started. Prometheus is that
of Debian (deploy/install_packages.sh test) with the configuration and rules of deploy/, pointed at this server.
"""

import argparse
import contextlib
import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
MODEL = TOP / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
DASHBOARD = TOP / "deploy/grafana/dashboards/ropeway.json"
# What Grafana puts in for its variables, at the scrape interval of this test.
VARIABLES = {"$__rate_interval": "20s", "$instance": ".*"}
SECONDS_TO_GET_READY = 120
SECONDS_OF_LOAD = 120


def free_address():
    """A port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def running(*command, log):
    """A process that is ended, and must end well, at the end of the block."""
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    if code != 0:
        sys.exit(f"{command[0]} ended with {code}:\n" + pathlib.Path(log).read_text(encoding="utf-8")[-4000:])


class Prometheus:
    """The HTTP interface of a Prometheus."""

    def __init__(self, address):
        self.url = f"http://{address}"

    def get(self, path, **arguments):
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(arguments)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def values(self, query):
        """The numbers that a query brings now. NaN is what a quantile of nothing is: no data."""
        numbers = [float(sample["value"][1]) for sample in self.get("/api/v1/query", query=query)["result"]]
        return [number for number in numbers if not math.isnan(number)]


def configuration(folder, metrics):
    """The configuration of deploy/ with this server as target and shorter intervals; checked by promtool."""
    text = (TOP / "deploy/prometheus.yml").read_text(encoding="utf-8")
    text, targets = re.subn(r'targets: \["ropeway:\d+"\]', f'targets: ["{metrics}"]', text)
    text, intervals = re.subn(r"_interval: 5s", "_interval: 1s", text)
    assert (targets, intervals) == (1, 2), text
    path = folder / "prometheus.yml"
    path.write_text(text, encoding="utf-8")
    (folder / "prometheus_rules.yml").symlink_to(TOP / "deploy/prometheus_rules.yml")
    subprocess.run(["promtool", "check", "config", TOP / "deploy/prometheus.yml"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["promtool", "check", "config", path], check=True, stdout=subprocess.DEVNULL)
    return path


def dashboard_queries():
    """Every query of the dashboard, its variables put in."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            queries.append(re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"])[1])
    for name, value in VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    assert len(queries) > 20 and not any("$" in query for query in queries), queries
    return sorted(set(queries))


def wait_for(condition, seconds, what):
    """Asks for a condition until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def check_dashboard(prometheus, client, server):
    """Puts load on the server until every query has brought data."""
    queries = missing = dashboard_queries()
    end = time.monotonic() + SECONDS_OF_LOAD
    while missing:
        if time.monotonic() > end:
            sys.exit("these queries bring no data:\n" + "\n".join(missing))
        subprocess.run([client, "bench", "--server", server, "--requests", "8", "--concurrency", "4", "--prompt_tokens",
                        "24", "--output_tokens", "16"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(1)  # a scrape
        missing = [query for query in missing if not prometheus.values(query)]
    print(f"{len(queries)} queries of the dashboard bring data")


def check_rules(prometheus):
    """Every alert is evaluated without error, and a healthy server sets off none."""
    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 3, rules
    for rule in rules:
        assert rule["health"] == "ok", rule
        assert rule["state"] == "inactive", rule
    print(f"{len(rules)} alerts are evaluated, none is set off")


def check_down(prometheus):
    """A server that is gone is noticed."""
    def pending():
        return [alert["labels"]["alertname"] for alert in prometheus.get("/api/v1/alerts")["alerts"]]
    wait_for(lambda: pending() == ["RopewayDown"], 30, "RopewayDown, and no other alert, after the server's end")
    print("a server that is gone is noticed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--server")
    parser.add_argument("--metrics")
    arguments = parser.parse_args()
    client = arguments.bin / "ropeway"
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = arguments.server or free_address()
        metrics = arguments.metrics or free_address()
        prometheus = Prometheus(free_address())
        stack.enter_context(running(
            "prometheus", f"--config.file={configuration(folder, metrics)}", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={prometheus.url.removeprefix('http://')}", log=folder / "prometheus.log"))
        with contextlib.ExitStack() as serving:
            if not arguments.server:
                serving.enter_context(running(arguments.bin / "ropeway_server", f"--model={MODEL}", f"--listen={server}",
                                              f"--metrics_listen={metrics}", log=folder / "server.log"))
            subprocess.run([client, "health", "--server", server, "--wait", str(SECONDS_TO_GET_READY)], check=True,
                           stdout=subprocess.DEVNULL)
            wait_for(prometheus.ready, SECONDS_TO_GET_READY, "Prometheus gets ready")
            wait_for(lambda: prometheus.values("up") == [1], 30, "the server is scraped")
            check_dashboard(prometheus, client, server)
            check_rules(prometheus)
        if not arguments.server:
            check_down(prometheus)


if __name__ == "__main__":
    main()

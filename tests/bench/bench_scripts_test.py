#!/usr/bin/env python3
"""The scripts of this folder that need no peer: a random model is read and computed, and results become a table and a plot."""

import argparse
import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

FOLDER = pathlib.Path(__file__).resolve().parent
INSPECT = sys.argv.pop(1)
sys.dont_write_bytecode = True
sys.path.insert(0, str(FOLDER))

import compare  # pylint: disable=wrong-import-position
import compare_table  # pylint: disable=wrong-import-position


def inspect(command, model, request):
    run = subprocess.run([INSPECT, command, model], input=json.dumps(request) + "\n", text=True, check=True,
                         stdout=subprocess.PIPE)
    return json.loads(run.stdout)


class RandomModel(unittest.TestCase):
    def test_is_read_and_computed(self):
        with tempfile.TemporaryDirectory() as folder:
            model = f"{folder}/tiny.gguf"
            script = FOLDER.parent / "tools/random_gguf.py"
            for kind in ("Q8_0", "BF16"):
                with self.subTest(kind=kind):
                    subprocess.run([sys.executable, "-B", script, "tiny", model, "--type", kind], check=True)
                    ids = inspect("tokenize", model, {"text": "hello"})["ids"]
                    self.assertTrue(ids and all(0 <= token < 1024 for token in ids), ids)
                    logits = inspect("logits", model, {"ids": ids, "last": 1})["logprobs"]
                    self.assertEqual(len(logits), len(ids) - 1)
                    self.assertTrue(all(-50 < value < 0 for value in logits), logits)


class Peers(unittest.TestCase):
    class Failing:
        name = "Peer"

        def engine(self, model, names):
            raise subprocess.CalledProcessError(1, ["peer", model])

    def test_one_that_fails_has_no_rates_and_is_told(self):
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            rates = compare.measure(self.Failing(), "engine", argparse.Namespace(model="m.gguf"), None)
        self.assertEqual((rates, told.getvalue()), ({}, "compare.py: Peer failed: peer m.gguf\n"))

    def test_our_own_failure_ends_the_comparison(self):
        ours = compare.Ropeway(threads=1)
        ours.engine = self.Failing().engine
        with self.assertRaises(subprocess.CalledProcessError):
            compare.measure(ours, "engine", argparse.Namespace(model="m.gguf"), None)


class Table(unittest.TestCase):
    def setUp(self):
        ours, theirs = {"Prefill/512": 200, "Prefill/2048": 100}, {"Prefill/512": 100, "Prefill/2048": 200}
        faster = {name: 3 * rate for name, rate in ours.items()}
        self.result = {"machine": "a machine", "date": "2026-11-26", "threads": 2, "model": "m.gguf", "rounds": [
            {"group": "engine", "rates": {"Ropeway": ours, "Peer": theirs}},
            {"group": "engine", "rates": {"Ropeway": faster, "Peer": theirs}},
            # A peer that failed, or was left out.
            {"group": "engine", "rates": {"Ropeway": {name: 2 * rate for name, rate in ours.items()}, "Peer": {}}},
            {"group": "busy", "rates": {"Ropeway": {"Decode/streams:8/context:128": 40}}},
        ]}

    def test_has_medians_and_ratios_of_rounds(self):
        lines = compare_table.table(self.result).splitlines()
        self.assertEqual(lines[2], "| | Ropeway | Peer | ratio |")
        self.assertEqual(lines[4], "| prompt of 512 | 400 | 100 | 4.00 |")
        self.assertEqual(lines[5], "| prompt of 2,048 | 200 | 200 | 1.00 |")
        self.assertEqual(lines[6], "| beside two busy processes: decode of 8 streams | 40 | - | - |")

    def test_rates_are_set_beside_those_of_their_round(self):
        self.result["rounds"] = [
            {"group": "busy", "rates": {"Ropeway": {"Prefill/512": 10}}},
            {"group": "busy", "rates": {"Ropeway": {"Prefill/512": 30}, "Peer": {"Prefill/512": 10}}}]
        self.assertIn("| beside two busy processes: prompt of 512 | 20 | 10 | 3.00 |", compare_table.table(self.result))

    def test_costs_of_tokens_between_two_lengths(self):
        # 100 tokens in a second, 300 in four: two hundred tokens took three seconds.
        self.assertEqual(compare_table.costs([(300, 75), (100, 100)]), [(50, 10), (200, 15)])

    def test_plot_has_a_line_for_each_peer(self):
        svg = xml.etree.ElementTree.fromstring(compare_table.plot(self.result))
        lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(lines), 2)
        self.assertTrue(all(len(line.get("points").split()) == 2 for line in lines))


if __name__ == "__main__":
    unittest.main()

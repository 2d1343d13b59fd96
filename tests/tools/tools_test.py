#!/usr/bin/env python3
"""Tests of the tools beside it. What needs the packages gguf and numpy is skipped where they are not installed."""

import importlib.util
import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
HAS_PACKAGES = all(importlib.util.find_spec(name) for name in ("gguf", "numpy"))

# Likewise, with a vocabulary of 3 whose likeliest token the weights decide: 2 to 1 to 1, or 1 to 2 to 1 where they are packed.
WEIGHTS_INSPECT = """#!/usr/bin/env python3
import json, math, sys
command, arguments = sys.argv[1], sys.argv[3:]
request = json.loads(sys.stdin.readline())
if command == "tokenize":
    print(json.dumps({"ids": [ord(c) for c in request["text"]]}))
    sys.exit()
packed = arguments[arguments.index("--weights") + 1] != "file"
row = [0, math.log(2), 0] if packed else [5 + math.log(2), 5, 5]
count = len(request["ids"])
print(json.dumps({"logits": [row] * count, "logprobs": [-math.log(4 if packed else 2)] * (count - 1)}))
"""

# Answers as ropeway_inspect does: a context of 8, a token for each character, log-probabilities that say how they came about.
INSPECT = """#!/usr/bin/env python3
import json, pathlib, sys
command, arguments = sys.argv[1], sys.argv[3:]
if command == "info":
    print("model\\n  context 8\\n")
    sys.exit()
request = json.loads(sys.stdin.readline())
if command == "tokenize":
    print(json.dumps({"ids": [ord(c) for c in request["text"]]}))
    sys.exit()
with open(pathlib.Path(__file__).parent / "calls", "a") as calls:
    calls.write(" ".join(arguments) + "\\n")
scaling = arguments[arguments.index("--rope_scaling") + 1] if "--rope_scaling" in arguments else "within"
if scaling.startswith("yarn"):
    print(json.dumps({"error": "no such scaling"}))
    sys.exit()
base = {"none:factor=2": 2, "linear:factor=2": 1, "within": 0.5}[scaling]
print(json.dumps({"logprobs": [-base] * (len(request["ids"]) - 1)}))
"""


def run(tool, *arguments):
    return subprocess.run([sys.executable, "-B", str(TOOLS / tool), *map(str, arguments)], capture_output=True, text=True)


def safetensors(tensors):
    """{name: (dtype, shape, bytes)} as a file."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    return {name: (entry["dtype"], entry["shape"], content[8 + size:][slice(*entry["data_offsets"])])
            for name, entry in header.items()}


class InFolder(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)


class ContextPlotTest(InFolder):
    def setUp(self):
        super().setUp()
        self.inspect = self.folder / "inspect"
        self.inspect.write_text(INSPECT)
        self.inspect.chmod(0o755)
        self.text = self.folder / "text"
        self.text.write_text("abcdefghijklmnopqrstuvwxyz")

    def plot(self, *more):
        return run("context_plot.py", "model.gguf", self.text, "--out", self.folder / "plot.svg", "--inspect", self.inspect,
                   "--window", "4", *more)

    def calls(self):
        return (self.folder / "calls").read_text().splitlines()

    def test_plots_what_the_model_says(self):
        done = self.plot("--kinds", "none", "linear")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line, rate in (("none:factor=2", 2), ("linear:factor=2", 1)):
            self.assertIn(f"{line}: {math.exp(rate):.1f} up to 8, {math.exp(rate):.1f} beyond", done.stdout)
        self.assertIn(f"within: {math.exp(0.5):.1f} beyond", done.stdout)
        kept = json.loads((self.folder / "plot.json").read_text())
        self.assertEqual([position for position, _ in kept["curves"]["none:factor=2"]], [2, 4, 6, 8, 10, 12])
        self.assertEqual([position for position, _ in kept["curves"]["within"]], [11, 13])
        svg = (self.folder / "plot.svg").read_text()
        self.assertEqual(svg.count("<polyline"), 3)
        self.assertIn("trained up to here", svg)

    def test_asks_for_nothing_twice_unless_the_tokens_are_others(self):
        self.assertEqual(self.plot("--kinds", "none").returncode, 0)
        self.assertEqual(len(self.calls()), 2)
        self.assertEqual(self.plot("--kinds", "none", "linear").returncode, 0)
        self.assertEqual(len(self.calls()), 3)
        self.text.write_text("zyxwvutsrqponmlkjihgfedcba")
        self.assertEqual(self.plot("--kinds", "none").returncode, 0)
        self.assertEqual(len(self.calls()), 5)

    def test_says_what_is_wrong(self):
        self.assertIn("no such scaling", self.plot("--kinds", "yarn").stderr)
        self.text.write_text("short")
        self.assertIn("the texts must have 16 tokens, have 5", self.plot().stderr)


class ConverterTest(InFolder):
    """A tiny Llama of two layers, with a byte-level vocabulary."""

    def setUp(self):
        super().setUp()
        self.hf = self.folder / "hf"
        self.hf.mkdir()
        self.config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "num_key_value_heads": 1, "intermediate_size": 12, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                       "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 6}
        shapes = {"model.embed_tokens": [6, 8], "model.norm": [8], "lm_head": [6, 8]}
        for layer in ("model.layers.0.", "model.layers.1."):
            shapes |= {layer + "input_layernorm": [8], layer + "post_attention_layernorm": [8],
                       layer + "self_attn.q_proj": [8, 8], layer + "self_attn.k_proj": [4, 8],
                       layer + "self_attn.v_proj": [4, 8], layer + "self_attn.o_proj": [8, 8],
                       layer + "mlp.gate_proj": [12, 8], layer + "mlp.up_proj": [12, 8], layer + "mlp.down_proj": [8, 12]}
        numbers = random.Random(1)
        self.tensors = {f"{name}.weight": ("F32", shape, struct.pack(
            f"<{math.prod(shape)}f", *(numbers.uniform(-1, 1) for _ in range(math.prod(shape))))) for name, shape in shapes.items()}
        self.write()
        (self.hf / "tokenizer.json").write_text(json.dumps({
            "added_tokens": [{"id": 4, "content": "<s>", "special": True}, {"id": 5, "content": "</s>", "special": True}],
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": ["a b"]}}))
        (self.hf / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
        self.gguf = self.folder / "model.gguf"

    def write(self):
        (self.hf / "config.json").write_text(json.dumps(self.config))
        (self.hf / "model.safetensors").write_bytes(safetensors(self.tensors))

    def refusal(self):
        self.write()
        done = run("folder_to_gguf.py", self.hf, self.gguf)
        self.assertEqual(done.returncode, 2)
        self.assertFalse(self.gguf.exists())
        return done.stderr

    def test_refuses_by_name(self):
        self.tensors["model.layers.0.odd.weight"] = ("F32", [1], bytes(4))
        self.assertIn("'model.layers.0.odd.weight' has no place", self.refusal())
        del self.tensors["model.layers.0.odd.weight"]
        self.tensors["model.norm.weight"] = ("F8_E4M3", [8], bytes(8))
        self.assertIn("'model.norm.weight' has the type F8_E4M3", self.refusal())
        self.tensors["model.norm.weight"] = ("F32", [8], bytes(32))
        self.config["rope_scaling"] = {"rope_type": "dynamic", "factor": 2.0}
        self.assertIn("rope_type is 'dynamic', which GGUF has no key for", self.refusal())
        del self.config["rope_scaling"]
        self.config["hidden_act"] = "gelu"
        self.assertIn("the activation is 'gelu', which GGUF has no key for", self.refusal())
        self.config["hidden_act"] = "silu"
        self.config["use_bidirectional_attention"] = True
        self.assertIn("use_bidirectional_attention is true, which GGUF has no key for", self.refusal())
        self.config["model_type"] = "odd"
        self.assertIn("model_type 'odd' is not supported; supported are", self.refusal())

    @unittest.skipUnless(HAS_PACKAGES, "gguf and numpy are not installed")
    def test_there_and_back_gives_the_same_folder(self):
        done = run("folder_to_gguf.py", self.hf, self.gguf, "--pre", "gpt-2")
        self.assertEqual(done.returncode, 0, done.stderr)
        for dtype in ("float32", "float16", "bfloat16"):
            back = self.folder / dtype
            done = run("gguf_to_folder.py", self.gguf, back, "--dtype", dtype)
            self.assertEqual(done.returncode, 0, done.stderr)
            config = json.loads((back / "config.json").read_text())
            for name, value in self.config.items():
                if isinstance(value, float):
                    self.assertAlmostEqual(config[name], value, places=9)
                else:
                    self.assertEqual(config[name], value, name)
            found = read_safetensors(back / "model.safetensors")
            self.assertEqual(found.keys(), self.tensors.keys())
            for name, (_, shape, data) in self.tensors.items():
                self.assertEqual(found[name][1], shape, name)
                if dtype == "float32":
                    self.assertEqual(found[name][2], data, name)
                elif dtype == "float16":
                    values = struct.unpack(f"<{len(data) // 4}f", data)
                    self.assertEqual(found[name][2], struct.pack(f"<{len(values)}e", *values), name)
            vocabulary = json.loads((back / "tokenizer.json").read_text())
            self.assertEqual(vocabulary["model"]["vocab"]["ab"], 3)
            self.assertEqual([token["content"] for token in vocabulary["added_tokens"]], ["<s>", "</s>"])
            self.assertEqual(json.loads((back / "tokenizer_config.json").read_text())["eos_token"], "</s>")

    @unittest.skipUnless(HAS_PACKAGES, "gguf and numpy are not installed")
    def test_unpacks_to_bf16(self):
        self.assertEqual(run("folder_to_gguf.py", self.hf, self.gguf, "--pre", "gpt-2").returncode, 0)
        unpacked = self.folder / "unpacked.gguf"
        done = run("unpack_gguf.py", self.gguf, unpacked)
        self.assertEqual(done.returncode, 0, done.stderr)
        back = self.folder / "back"
        done = run("gguf_to_folder.py", unpacked, back, "--dtype", "float32")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = read_safetensors(back / "model.safetensors")
        for name, (_, shape, data) in self.tensors.items():
            values, expected = (struct.unpack(f"<{len(data) // 4}f", floats) for floats in (found[name][2], data))
            for one, other in zip(values, expected):
                self.assertAlmostEqual(one, other, delta=abs(other) / 256, msg=name)

    @unittest.skipUnless(HAS_PACKAGES, "gguf and numpy are not installed")
    def test_takes_llamas_of_known_vocabularies_alone(self):
        self.assertEqual(run("folder_to_gguf.py", self.hf, self.gguf, "--pre", "odd").returncode, 0)
        done = run("gguf_to_folder.py", self.gguf, self.folder / "back")
        self.assertEqual(done.returncode, 2)
        self.assertIn("must be a llama with one of the vocabularies", done.stderr)


class CompareWeightsTest(InFolder):
    def setUp(self):
        super().setUp()
        self.inspect = self.folder / "inspect"
        self.inspect.write_text(WEIGHTS_INSPECT)
        self.inspect.chmod(0o755)
        self.text = self.folder / "text"
        self.text.write_text("abcdef")

    def compare(self, *more):
        return run("compare_weights.py", "model.gguf", self.text, "--inspect", self.inspect, *more)

    def test_tells_how_far_probabilities_move(self):
        done = self.compare("--tokens", "5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("5 tokens; file: perplexity 2.000", done.stdout)
        # 1/2 log 2 + 1/4 log 1/2
        self.assertIn(f"q8_0: perplexity 4.000, KL {0.25 * math.log(2):.5f} (at most {0.25 * math.log(2):.4f}), "
                      "same first 0.0 %", done.stdout)

    def test_equal_weights_move_nothing(self):
        done = self.compare("--weights", "file")
        self.assertIn("KL 0.00000 (at most 0.0000), same first 100.0 %", done.stdout)

    def test_refuses_a_text_without_a_next_token(self):
        self.text.write_text("a")
        done = self.compare()
        self.assertEqual(done.returncode, 1)
        self.assertIn("the text must have at least 2 tokens, has 1", done.stderr)


if __name__ == "__main__":
    unittest.main()

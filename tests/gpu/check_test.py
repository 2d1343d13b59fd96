#!/usr/bin/env python3
"""check.sh with programs that play those of the pack: what it records, compares and skips. Usage: check_test.py CUDA_BENCH"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent
CUDA_BENCH = sys.argv.pop(1)

# As Google Benchmark and cuda_bench print them. Names of products are those of a server's log.
ENGINE_BENCH = """
case "$*" in *wgmma=off*) hash=$OFF_HASH ;; *) hash=5eed ;; esac
[ -z "${SLOW:-}" ] || sleep 60
[ -z "${ROPEWAY_TIMELINE:-}" ] || echo "$TIMELINE" >"$ROPEWAY_TIMELINE"
case "$*" in *type=Q4_K*) products=$Q4_K_PRODUCTS ;; *) products="wgmma, whose bytes are those of mma.sync" ;; esac
echo "load/ms 2500 ms: 16.06 GB, of which the upload took 1200 ms"
echo "W [4096, 4096] transposed, bf16 to bf16: up to 32 tokens algorithm 66 (0.021 ms), 2 refused"
echo "W [6144, 4096] transposed, bf16 to bf16: up to 32 tokens algorithm 66 (0.023 ms); up to 64 tokens our own kernel"
echo "W [28672, 4096] of BF16, bf16 to bf16: up to 32 tokens library (0.1 ms); up to 64 tokens by wgmma (0.1 ms), library"
[ -z "$products" ] || echo "products: $products"
case "$*" in *fp8*) echo "products of prompts by fp8: mma.sync, since wgmma gives other bytes or none" ;; esac
echo "attention of prompts: wgmma, whose bytes are those of mma.sync"
echo "products for few tokens: bulk copies, whose bytes are those of cp.async"
echo "answers: 16 of 16 alike alone and among 80, 700 distinct tokens, hash $hash"
echo "Prefill/2048/real_time                     40.0 ms         40.0 ms           10 items_per_second=51.2k/s"
echo "Decode/streams:1/context:512/real_time     5.50 ms         5.50 ms          100 items_per_second=181/s"
echo "Decode/streams:64/context:512/real_time    9.00 ms         9.00 ms          100 items_per_second=7k/s"
"""
OPERATIONS = """
echo "NVIDIA, shape 8b: a read reaches 3100 GB/s, a copy 3000 GB/s, a product of 8192^3 780.0 TFLOP/s"
echo "operation                sizes                              us      GB/s   TFLOP/s  of bound"
echo "attention, prompt        rows 1, context 8192           500.00       100     420.0       54%"
echo "sample greedy            rows 64                         30.00      1000       0.0       30%"
echo "sample top_p 0.9         rows 64                        110.50      1000       0.0       30%"
echo "streamed matmul gate_up  T 16                            90.00      2600      20.0       85%"
echo "library matmul gate_up   T 16                            85.00      2700      20.0       88%"
echo "by wgmma matmul gate_up  T 16                             88.00      2650      20.0       86%"
echo "experts 8/2 gate_up tiles of 8 BF16, T 8                     20.00      2700      20.0       88%"
echo "experts 8/2 gate_up tiles of 16 BF16, T 8                    19.00      2700      20.0       88%"
"""
# Of several processes one has them all.
SERVER = """
for argument in "$@"; do case "$argument" in --model=*) [ -e "${argument#*=}" ] || exit 1 ;; esac; done
echo "2026-11-28T06:28:41.008+00:00 info serving model=8b"
exec sleep 60
"""
# Before the first step it is idle for longer than in all of them; a launch that ended before another began sooner hides none.
TIMELINE = """
      0.00      1.00      1.00  CopyBytesKernel(CopyBytesArgs)
    500.00      1.00      1.00  TakeTokensKernel(TakeTokensArgs)
    501.00    100.00    100.00  DecodeKernel(AttentionParams)
    510.00     10.00      0.00  NormKernel(NormArgs)
    604.00      1.00      4.00  TakeTokensKernel(TakeTokensArgs)
    610.00     89.00     94.00  DecodeKernel(AttentionParams)
    700.00      1.00      2.00  TakeTokensKernel(TakeTokensArgs)
    900.00      1.00      2.00  CopyBytesKernel(CopyBytesArgs)
"""
PASSED = '[ "${GTEST_SHARD_INDEX:-0}" -eq 0 ] && echo "[  PASSED  ] 198 tests." || echo "[  PASSED  ] 0 tests."\n'


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ("check.sh", "goals.txt"):
            shutil.copy(FOLDER / name, self.folder)
        (self.folder / "COMMIT").write_text("abc1234\n", encoding="utf-8")
        self.program("nvidia-smi", 'echo "NVIDIA \\"H100\\", 580, 81559 MiB"')
        self.program("compute-sanitizer", 'echo "ERROR SUMMARY: 0 errors"')
        self.program("bin/kernels_cuda_device_test", PASSED)
        self.program("bin/executors_test", PASSED)
        self.program("bin/engine_bench", ENGINE_BENCH)
        self.program("bin/cuda_bench", OPERATIONS)
        self.program("bin/ropeway_server", SERVER)
        self.program("tools/random_gguf.py", "")
        self.program("python3", 'touch "$3"')
        self.program("df", 'echo "${ROOM:-99999999}"')

    def program(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/usr/bin/env bash\n" + text, encoding="utf-8")
        path.chmod(0o755)

    def check(self, *arguments, **environment):
        """Its exit code and what table.json has, by name."""
        full = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "OFF_HASH": "5eed", "TIMELINE": TIMELINE.strip("\n"),
                "Q4_K_PRODUCTS": "wgmma, whose bytes are those of mma.sync, where it is the fastest",
                "CUDA_LIBRARIES": "/nowhere", **environment}
        done = subprocess.run([self.folder / "check.sh", *arguments], env=full, text=True, capture_output=True, check=False,
                              timeout=90)
        table = self.folder / "results/table.json"
        rows = json.loads(table.read_text(encoding="utf-8"))["rows"] if table.exists() else []
        return done, {row["what"]: row for row in rows}

    def expect(self, rows, *expected):
        for what, result, figure in expected:
            with self.subTest(what=what):
                self.assertEqual(rows[what]["result"], result)
                self.assertIn(figure, rows[what]["figure"])

    def test_figures_stand_beside_their_goals(self):
        done, rows = self.check()
        self.expect(rows, ("kernels on the device", "pass", "PASSED 198 tests"),
                    ("8B bf16, a decode step of 1 stream", "met", "5.5 ms"),
                    ("8B bf16, a decode step of 64 streams", "missed", "9 ms"),
                    ("8B bf16, a prompt of 2,048", "met", "51200 tokens/s"),
                    ("8B bf16, a prompt of 8,192", "missing", "none tokens/s"),
                    ("8B bf16, from weights in memory to warmed up", "met", "2500 ms"),
                    ("SmolLM2's shape f16, 1 stream", "missed", "181.818 tokens/s"),
                    ("8B fp8, a decode step of 1 stream", "figure", "5.5 ms"),
                    ("attention of a prompt of 8,192", "met", "420 TFLOP/s"),
                    ("top_p of 64 rows beyond greedy", "missed", "80.5 us"),
                    ("8B bf16, share of time the device is idle, 1 stream", "missed", "4.5 %"),
                    ("SmolLM2's shape f16, idle in a step of 1 stream", "met", "4.5 microseconds"),
                    ("8B bf16, from exec to serving, of a file in memory", "met", " ms"),
                    ("racecheck of all kernels", "pass", "exit code 0"),
                    ("engine: golden prompts of SmolLM2", "skipped", "is not there"))
        self.assertEqual(rows["8B bf16, a decode step of 1 stream"]["floor"], "4.9")
        choices = (self.folder / "results/choices.txt").read_text(encoding="utf-8").splitlines()
        self.assertRegex(choices[0], r"^matmul gate_up T 16 +library +us: streamed 90.00, library 85.00, wgmma 88.00$")
        self.assertRegex(choices[1], r"^experts 8/2 gate_up BF16, T 8 +tiles of 16 +us: tiles of 8 20.00, tiles of 16 19.00$")
        self.assertEqual(done.returncode, 1, "of fp8 by wgmma")

    def test_tells_which_kernels_were_trusted(self):
        _, rows = self.check(Q4_K_PRODUCTS="no wgmma, since Q4_K [64, 256] gives other bytes")
        self.expect(rows, ("products by wgmma: bytes of mma.sync, BF16", "pass", "checked at load"),
                    ("products by wgmma: bytes of mma.sync, Q4_K", "FAIL", "Q4_K [64, 256] gives other bytes"),
                    ("products by wgmma: bytes of mma.sync, fp8", "pass", "checked at load"),
                    ("prompts by wgmma: bytes of mma.sync, fp8", "FAIL", "wgmma gives other bytes or none"),
                    ("attention by wgmma: bytes of mma.sync, BF16", "pass", "checked at load"),
                    ("attention by wgmma: bytes of mma.sync, smollm2", "pass", "checked at load"),
                    ("bulk copies: bytes of cp.async, BF16", "pass", "checked at load"),
                    ("how cuBLASLt multiplies", "figure", "1 classes with algorithms refused, 1 without any, of 3"),
                    ("the same answers by all ways, BF16", "pass", "4 runs, hash 5eed"),
                    ("the same answers by all ways, Q4_K", "pass", "2 runs, hash 5eed"))
        _, rows = self.check(Q4_K_PRODUCTS="", ROOM="1000")
        self.expect(rows, ("start of 8b from a file", "skipped", "no 17 GiB in /dev/shm"))
        self.expect(rows, ("products by wgmma: bytes of mma.sync, Q4_K", "missing", "the log says nothing of it"))

    def test_what_fails_ends_nothing_but_the_exit_code(self):
        self.program("bin/kernels_cuda_device_test", 'echo "[  FAILED  ] 2 tests, listed below:"; exit 1')
        self.program("bin/cuda_bench", OPERATIONS + "exit 1")
        done, rows = self.check(OFF_HASH="0ff")
        self.assertEqual(done.returncode, 1)
        for what in ("kernels on the device", "the same answers by all ways, BF16", "the same answers by all ways, Q4_K",
                     "operations of 8b"):
            self.assertEqual(rows[what]["result"], "FAIL", what)
        self.assertRegex(rows["kernels on the device"]["figure"], r"FAILED \d+ tests")
        self.assertEqual(rows["8B bf16, a decode step of 1 stream"]["result"], "met")
        self.assertEqual(rows["attention of a prompt of 8,192"]["result"], "met")

    def test_tests_that_find_no_device_are_no_pass(self):
        self.program("bin/executors_test", 'echo "[  PASSED  ] 0 tests."')
        self.program("bin/kernels_cuda_device_test", "exit 77")
        done, rows = self.check("--quick")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(rows["kernels on the device"]["result"], "FAIL")
        self.assertEqual(rows["engine: golden models, same bytes in batches"]["result"], "FAIL")

    def test_ends_in_time_with_what_there_is(self):
        done, rows = self.check("--seconds", "20", SLOW="1")
        self.assertEqual(done.returncode, 0)
        self.expect(rows, ("kernels on the device", "pass", "PASSED 198 tests"),
                    ("steps of 8b in BF16", "cut", "not done after"),
                    ("8B bf16, a decode step of 1 stream", "missing", "none ms"),
                    ("the same answers by all ways, BF16", "not run", "0 of 4 runs"),
                    ("operations of 8b", "not run", "no time left"),
                    ("attention of a prompt of 8,192", "not run", "not timed"),
                    ("racecheck of all kernels", "not run", "no time left"))

    def test_says_what_is_wrong(self):
        done, _ = self.check("--fast")
        self.assertEqual(done.returncode, 2)
        self.assertIn("Usage: check.sh", done.stderr)
        self.program("nvidia-smi", "exit 9")
        done, _ = self.check()
        self.assertEqual(done.returncode, 2)
        self.assertIn("no GPU", done.stderr)

    def test_products_of_any_shape(self):
        def listed(*arguments):
            return subprocess.run([CUDA_BENCH, "--list", *arguments], text=True, capture_output=True, check=False)

        self.assertEqual(listed("--rows=512", "--columns=1024", "--tokens=1,300", "--type=Q4_K").stdout.splitlines(),
                         [f"{how}Q4_K [512, 1024] T {tokens}" for tokens in (1, 300)
                          for how in ("", "packed ", "by wgmma ", "unpacked ")])
        self.assertIn("bulk matmul [512, 1024] T 8\n", listed("--rows=512", "--columns=1024").stdout)
        self.assertIn("fp8 [512, 1024], wgmma T 300\n",
                      listed("--rows=512", "--columns=1024", "--tokens=300", "--type=fp8").stdout)
        for arguments, why in ((("--rows=512",), "--columns"), (("--rows=0", "--columns=64"), "--rows"),
                               (("--rows=512", "--columns=1024", "--type=F32"), "--type must be BF16"),
                               (("--rows=512", "--columns=1000", "--type=Q4_K"), "must be a multiple of 256"),
                               (("--rows=9999999", "--columns=1024"), "may have")):
            with self.subTest(arguments=arguments):
                done = listed(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(why, done.stderr)

    def test_goals_are_of_steps_and_operations_that_there_are(self):
        script = (FOLDER / "check.sh").read_text(encoding="utf-8")
        steps = re.findall(r'(?:step|bench) "([^"$]+)"', script)
        steps += ["start of 8b from a file"] + [f"idle of {name}" for name in re.findall(r'record_idle "([^"$]+)"', script)]
        operations = subprocess.run([CUDA_BENCH, "--list"], text=True, capture_output=True, check=True).stdout.splitlines()
        for line in (FOLDER / "goals.txt").read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            with self.subTest(line=line):
                step, begins, number, goal, floor, what = (part.strip() for part in line.split("|"))
                self.assertTrue(any(re.fullmatch(known, step) for known in steps))
                self.assertRegex(number, r"^(ms|tokens/s \d+|us|us over .+|microseconds|GB/s|TFLOP/s|%)$")
                self.assertRegex(goal, r"^(-|[<>]= [0-9.]+)$")
                self.assertRegex(floor, r"^(-|[0-9.]+)$")
                self.assertTrue(what)
                if step.startswith("operations"):
                    self.assertIn(begins, operations)
                    self.assertIn(number.partition(" over ")[2] or begins, operations)


if __name__ == "__main__":
    unittest.main()

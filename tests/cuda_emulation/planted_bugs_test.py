#!/usr/bin/env python3
"""Proves that the three builds of the emulation notice the mistakes of planted_bugs.cu, and nothing without them.

Usage: planted_bugs_test.py --programs FOLDER --compiler CXX --source TOP [UNITTEST ARGUMENT...]

Every kernel runs in every build and schedule of the test suite, with its mistake and without.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import unittest

SEEDS = range(1, 6)
RUNS = [("plain", "fifo", 1), ("plain", "lifo", 1), *(("plain", "random", seed) for seed in SEEDS),
        ("asan", "fifo", 1), ("tsan", "fifo", 1)]

WRONG = "wrong at"
RACE = "ThreadSanitizer: data race"
POISON = "AddressSanitizer: use-after-poison"
FAILED = "error: cudaErrorLaunchFailure: "
ENDED = "lane that has ended"
STUCK = "can go on"

# What must be said, by build and schedule; "random" of one seed at least, "plain" by every run of that build. A run that
# is not listed may notice the mistake or not.
EXPECTED = {
    "SumWithoutBarrier": {"plain": WRONG, "tsan": RACE},
    "SumsBackToBack": {"lifo": WRONG, "random": WRONG, "tsan": RACE},
    "MergeWithoutBarrier": {"fifo": WRONG, "random": WRONG, "tsan": RACE},
    "LowerNeighbour": {"lifo": WRONG, "random": WRONG, "tsan": RACE},
    "WarpInStep": {"plain": WRONG, "tsan": RACE},
    "BufferReusedEarly": {"plain": WRONG, "tsan": RACE},
    "CopyWithoutWait": {run: FAILED + "*cp.async in flight" for run in ("plain", "asan", "tsan")},
    "DivergentBarrier": {run: FAILED + "*divergent __syncthreads" for run in ("plain", "asan", "tsan")},
    "PartialBarrier": {run: FAILED + "*ended" for run in ("plain", "asan", "tsan")},
    "ReturnBeforeBarrier": {run: FAILED + "*ended" for run in ("plain", "asan", "tsan")},
    "ShuffleWithEndedLanes": {"fifo": FAILED + "*" + STUCK, "lifo": FAILED + "*" + ENDED, "plain": FAILED,
                              "asan": FAILED, "tsan": FAILED},
    "DivergentShuffle": {"fifo": FAILED + "*" + STUCK, "lifo": FAILED + "*" + ENDED, "plain": FAILED, "asan": FAILED,
                         "tsan": FAILED},
    "LaneOutsideItsMask": {run: FAILED + "*its own mask" for run in ("plain", "asan", "tsan")},
    "MisalignedVector": {"asan": "store to misaligned address"},
    "MisalignedMatrixRow": {run: FAILED + "*not 16-byte aligned" for run in ("plain", "asan", "tsan")},
    "UninitialisedShared": {run: WRONG for run in ("plain", "asan", "tsan")},
    "SharedOfAnotherBlock": {run: WRONG for run in ("plain", "asan", "tsan")},
    "GlobalReadPastTheEnd": {"plain": WRONG, "asan": POISON},
    "GlobalWritePastTheEnd": {"plain": FAILED + "*past the end", "asan": POISON},
    "StaticSharedPastTheEnd": {"asan": "index 2 out of bounds"},
    "DynamicSharedPastTheEnd": {"asan": POISON},
    "EndsWithoutGridWait": {run: FAILED + "*without GridDependencyWait" for run in ("plain", "asan", "tsan")},
    "ReadsBeforeGridWait": {run: WRONG for run in ("plain", "asan")},
    "CopiesBeforeGridWait": {run: WRONG for run in ("plain", "asan")},
    "SumOfBlocks": {"tsan": RACE},
    # With wgmma.
    "ProxyFenceForgotten": {run: FAILED + "*without a fence" for run in ("plain", "asan", "tsan")},
    "ProxyFenceBeforeTheWait": {run: FAILED + "*without a fence" for run in ("plain", "asan", "tsan")},
    "PanelWithoutBarrier": {"fifo": WRONG, "lifo": WRONG, "random": WRONG, "tsan": RACE},
    "RegistersWithoutFence": {run: FAILED + "*without a fence since" for run in ("plain", "asan", "tsan")},
    "SumsReadUnderWay": {run: WRONG for run in ("plain", "asan", "tsan")},
    "OneGroupTooFewAwaited": {run: WRONG for run in ("plain", "asan", "tsan")},
    "OperandChangedUnderWay": {run: WRONG for run in ("plain", "asan", "tsan")},
    "PanelReusedUnderWay": {"plain": WRONG, "tsan": RACE},
    "SwizzleForgotten": {run: WRONG for run in ("plain", "asan", "tsan")},
    "OperandWithinTheSwizzle": {run: FAILED + "*within the eight rows" for run in ("plain", "asan", "tsan")},
    "EndsWithProductUnderWay": {run: FAILED for run in ("plain", "asan", "tsan")},
    # With bulk copies.
    "BytesThatNeverCome": {run: FAILED + "*can go on*of 2048 bytes has 1024" for run in ("plain", "asan", "tsan")},
    "RowsOutsideNotCounted": {run: FAILED + "*more bytes" for run in ("plain", "asan", "tsan")},
    "ArrivesWithoutExpecting": {"plain": FAILED + "*under way", "asan": FAILED + "*under way", "tsan": RACE},
    "OneArrivalTooMany": {run: FAILED for run in ("plain", "asan", "tsan")},
    "OneArrivalTooFew": {run: FAILED + "*can go on*misses 1 arrivals" for run in ("plain", "asan", "tsan")},
    "WaitsForTheOtherParity": {"plain": FAILED + "*under way", "asan": FAILED + "*under way", "tsan": RACE},
    "OneWarpAwaits": {"fifo": WRONG, "random": WRONG, "tsan": RACE},
    "FilledBeforeAllHaveRead": {"lifo": FAILED, "random": FAILED, "tsan": RACE},
    "EmptiedBeforeTheWarpHasRead": {"lifo": FAILED, "random": FAILED, "tsan": RACE},
    "EndsWithBulkCopyUnderWay": {run: FAILED + "*under way" for run in ("plain", "asan", "tsan")},
    "BoxWithinTheSwizzle": {run: FAILED + "*does not begin" for run in ("plain", "asan", "tsan")},
    "BarriersWithoutFence": {run: FAILED + "*without FenceBarriers" for run in ("plain", "asan", "tsan")},
    "BarrierInitialisedTwice": {run: FAILED + "*initialised before" for run in ("plain", "asan", "tsan")},
    "BulkCopyOverCpAsync": {run: FAILED + "*without a fence" for run in ("plain", "asan", "tsan")},
    "NoTensorMap": {run: FAILED + "*no tensor map" for run in ("plain", "asan", "tsan")},
    "BoxBeforeGridWait": {run: WRONG for run in ("plain", "asan")},
    "RunOfOddBytes": {run: FAILED + "*no multiples of 16" for run in ("plain", "asan", "tsan")},
    "RunExpectsTooFewBytes": {run: FAILED + "*more bytes" for run in ("plain", "asan", "tsan")},
    "RunReadUnderWay": {"plain": WRONG, "asan": WRONG, "tsan": RACE},
    "RunBeforeGridWait": {run: WRONG for run in ("plain", "asan")},
    "GlobalWithoutFence": {run: FAILED + "*without FenceGlobalForBulkCopies" for run in ("plain", "asan", "tsan")},
}

arguments = None


def run(bug, variant, build, schedule, seed):
    """What the program says; for a sanitizer's report, with its name."""
    environment = dict(os.environ, ROPEWAY_EMULATION_SCHEDULE=schedule, ROPEWAY_EMULATION_SEED=str(seed),
                       ROPEWAY_EMULATION_THREADS="2" if build == "tsan" else "1")
    done = subprocess.run([arguments.programs / f"planted_bugs_{build}", bug, variant], env=environment, text=True,
                          capture_output=True, check=False, timeout=60)
    return done.stdout + done.stderr


def says(output, words):
    """Whether the parts of `words` between asterisks follow each other in the output."""
    at = 0
    for part in words.split("*"):
        at = output.find(part, at)
        if at < 0:
            return False
    return True


class PlantedBugs(unittest.TestCase):
    def test_every_kernel_is_listed(self):
        listed = subprocess.run([arguments.programs / "planted_bugs_plain", "--list"], text=True, capture_output=True,
                                check=True).stdout.split()
        self.assertEqual(sorted(listed), sorted(EXPECTED))

    def test_nothing_is_reported_without_a_mistake(self):
        for bug in EXPECTED:
            for build, schedule, seed in RUNS:
                with self.subTest(bug=bug, build=build, schedule=schedule, seed=seed):
                    self.assertEqual(run(bug, "right", build, schedule, seed), "right\n")

    def test_mistakes_are_noticed(self):
        for bug, expected in EXPECTED.items():
            seeds_that_noticed = 0
            for build, schedule, seed in RUNS:
                output = run(bug, "planted", build, schedule, seed)
                wanted = [expected[key] for key in (build, schedule if build == "plain" else "") if key in expected]
                if schedule == "random":
                    seeds_that_noticed += says(output, expected.get("random", ""))
                    wanted = [expected["plain"]] if "plain" in expected else []
                for words in wanted:
                    with self.subTest(bug=bug, build=build, schedule=schedule, seed=seed):
                        self.assertTrue(says(output, words), f"expected: {words}\ngot: {output}")
            with self.subTest(bug=bug, schedule="random"):
                self.assertGreater(seeds_that_noticed, 0)

    def test_shared_memory_by_its_cuda_name_does_not_compile(self):
        kernel = '#include "engine/kernels/cuda/device.h"\nnamespace ropeway::cuda {\n' \
                 "__global__ void Kernel(float* out) { %s; values[0] = 1; out[0] = values[0]; }\n}\n"
        for declaration, compiles in (("ROPEWAY_SHARED(values, float[4])", True), ("__shared__ float values[4]", False)):
            done = subprocess.run([arguments.compiler, "-std=c++20", "-fsyntax-only", f"-I{arguments.source}",
                                   f"-I{arguments.source}/tests/cuda_emulation", "-x", "c++", "-"],
                                  input=kernel % declaration, text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode == 0, compiles, done.stderr)
            self.assertEqual("write ROPEWAY_SHARED" in done.stderr, not compiles, done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    arguments, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])

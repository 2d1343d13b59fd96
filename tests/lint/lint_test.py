#!/usr/bin/env python3
"""Tests of the lint itself: each rule catches what it is there for, and lets its neighbour pass."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import layers
import lint


def messages(path, text):
    return [message for _, message in lint.findings(path, text)]


class IncludeTest(unittest.TestCase):

    def assert_allowed(self, path, header):
        self.assertEqual(messages(path, f"#include {header}\n"), [])

    def assert_forbidden(self, path, header, part):
        found = messages(path, f"#include {header}\n")
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])

    def test_layers(self):
        self.assert_allowed("engine/kv/page_pool.cc", '"engine/api/step.h"')
        self.assert_forbidden("engine/kv/page_pool.cc", '"engine/sched/scheduler.cc"', "engine/kv may not include")
        self.assert_forbidden("client/main.cc", '"engine/base/check.h"', "client may not include")
        self.assert_forbidden("client/main.cc", '"server/config/config.h"', "client may not include")
        self.assert_forbidden("engine/exec/cpu/executor.cc", '"server/obs/metrics.h"', "engine/exec/cpu may not include")
        self.assert_forbidden("server/loop/engine_loop.cc", '"proto/ropeway/v1/ropeway.pb.h"', "server/loop may not")
        self.assert_allowed("server/rpc/convert.cc", '"proto/ropeway/v1/ropeway.pb.h"')
        self.assert_allowed("server/main.cc", '"engine/exec/cpu/executor.h"')

    def test_the_front_knows_no_transport(self):
        self.assert_allowed("server/front/generation.cc", '"proto/ropeway/v1/ropeway.pb.h"')
        self.assert_forbidden("server/front/generation.cc", '"proto/ropeway/v1/ropeway.grpc.pb.h"', "may not include")
        self.assert_forbidden("server/front/generation.cc", "<grpcpp/grpcpp.h>", "of grpc")
        self.assert_forbidden("server/front/generation.cc", '"server/rpc/wire.h"', "server/front may not include")

    def test_one_header_of_a_folder(self):
        self.assert_allowed("engine/exec/cpu/pass.cc", '"engine/kernels/ops.h"')
        self.assert_forbidden("engine/exec/cpu/pass.cc", '"engine/kernels/ref/ref.h"', "engine/exec/cpu may not include")

    def test_a_folder_whose_name_begins_alike_is_another_folder(self):
        self.assert_forbidden("engine/sched/policy.cc", '"engine/kvstore/x.h"', "engine/sched may not include")

    def test_libraries(self):
        self.assert_allowed("server/rpc/service.cc", "<grpcpp/grpcpp.h>")
        self.assert_forbidden("server/loop/engine_loop.cc", "<grpcpp/grpcpp.h>", "of grpc")
        self.assert_allowed("engine/kernels/cpu/avx2/gemm.cc", "<immintrin.h>")
        self.assert_forbidden("engine/kernels/select.cc", "<immintrin.h>", "of intrinsics")
        self.assert_allowed("engine/kernels/cuda/rope.cu", "<cuda_runtime.h>")
        self.assert_forbidden("engine/exec/cuda/executor.cc", "<cuda_runtime.h>", "of cuda")
        self.assert_forbidden("engine/text/tokenizer.cc", '"nearby.h"', "neither a path from the top")

    def test_pure_folders(self):
        self.assert_allowed("engine/sched/scheduler.cc", '"absl/time/time.h"')
        self.assert_forbidden("engine/sched/scheduler.cc", '"absl/time/clock.h"', "pure")
        self.assert_forbidden("engine/kv/page_pool.cc", "<mutex>", "pure")
        self.assert_forbidden("engine/kv/page_pool.cc", '"absl/synchronization/mutex.h"', "pure")

    def test_a_new_folder_must_be_listed(self):
        self.assertIn("not in tests/lint/layers.py", messages("engine/novelty/x.cc", "\n")[0])

    def test_every_listed_folder_may_include_only_listed_folders(self):
        for folder, rule in layers.FOLDERS.items():
            for other in rule.project:
                known = other in layers.FOLDERS or other in ("engine", "proto") or other.endswith(".h")
                self.assertTrue(known, f"{folder} names {other}")


class FileTest(unittest.TestCase):

    def test_file_length(self):
        self.assertEqual(messages("tests/x_test.cc", "//\n" * lint.MAX_FILE_LINES), [])
        self.assertIn("601 lines", messages("tests/x_test.cc", "//\n" * (lint.MAX_FILE_LINES + 1))[0])
        self.assertEqual(messages("tests/golden/x.py", "#\n" * (lint.MAX_FILE_LINES + 1)), [])

    def test_function_length(self):
        body = "  ++i;\n"
        for head in ("int F(int i) {\n", "int F(int i,\n      int j) {\n"):
            rest = lint.MAX_FUNCTION_LINES - head.count("\n") - 1
            self.assertEqual(messages("tests/x_test.cc", head + body * rest + "}\n"), [])
            self.assertIn("a function of 71", messages("tests/x_test.cc", head + body * (rest + 1) + "}\n")[0])
        for head in ("struct S {\n", "namespace ropeway {\n", "constexpr int kTable[] = {\n"):
            self.assertEqual(messages("tests/x_test.cc", head + body * 200 + "}\n"), [])

    def test_include_guard(self):
        good = "#ifndef ROPEWAY_ENGINE_KV_A_B_H_\n#define ROPEWAY_ENGINE_KV_A_B_H_\n#endif\n"
        self.assertEqual(messages("engine/kv/a_b.h", good), [])
        self.assertIn("ROPEWAY_ENGINE_KV_A_B_H_", messages("engine/kv/a_b.h", "#pragma once\n")[0])
        textual = "// NOLINTNEXTLINE: textual header, no include guard.\n"
        self.assertEqual(messages("engine/kernels/cpu/math_inl.h", textual), [])
        self.assertEqual(len(messages("engine/kv/math_inl.h", textual)), 1)

    def test_machine_paths(self):
        for path in ("home/someone", "tmp/scratch", "root/build"):
            self.assertIn("path of one machine", messages("deploy/x.sh", f"cd /{path}\n")[0])
        for line in ("cd /usr/bin", "see https://example.org/home/page", "cd ${X}/tmp/y", "cd ~/work/y"):
            self.assertEqual(messages("deploy/x.sh", line + "\n"), [])

    def test_unfinished_work(self):
        self.assertIn("finish it", messages("client/x.cc", "// TO" "DO: later\n")[0])


class TreeTest(unittest.TestCase):

    def run_lint(self, top):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = lint.main(["lint", top])
        return code, output.getvalue()

    def test_a_violation_in_a_tree_fails_and_names_its_place(self):
        with tempfile.TemporaryDirectory() as top:
            file = pathlib.Path(top, "engine/kv/pool.cc")
            file.parent.mkdir(parents=True)
            file.write_text('\n#include "server/main.h"\n', encoding="utf-8")
            code, output = self.run_lint(top)
            self.assertEqual(code, 1)
            self.assertIn("engine/kv/pool.cc:2: engine/kv may not include server/main.h", output)
            file.write_text('#include "engine/api/step.h"\n', encoding="utf-8")
            self.assertEqual(self.run_lint(top)[0], 0)

    def test_an_empty_tree_is_an_error(self):
        with tempfile.TemporaryDirectory() as top, self.assertRaises(SystemExit):
            lint.main(["lint", top])


if __name__ == "__main__":
    unittest.main()

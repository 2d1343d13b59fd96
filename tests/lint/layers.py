"""Who may include whom: the layering of the tree as data.

Each folder lists the folders of this project that it may include besides itself, and the families of library headers.
A folder is matched by its longest listed prefix. What is not listed is forbidden, so a new folder needs a line here.
"""

import dataclasses
import re

# Families of library headers, by the beginning of the include path.
LIBRARIES = {
    "absl": ("absl/",),
    "cli": ("CLI/",),
    "cuda": ("cuda", "cublas", "cooperative_groups", "mma.h", "nccl"),
    "curl": ("curl/",),
    "grpc": ("grpc/", "grpcpp/"),
    "intrinsics": ("immintrin.h", "x86intrin.h", "cpuid.h", "arm_neon.h", "arm_sve.h"),
    "json": ("nlohmann/",),
    "openssl": ("openssl/",),
    "pcre2": ("pcre2.h",),
    "protobuf": ("google/protobuf/",),
    "prometheus": ("prometheus/",),
    "unicode": ("utf8proc.h",),
}

# Threads, locks, clocks and files: the scheduler and the page bookkeeping are pure.
IMPURE = (
    "thread", "mutex", "shared_mutex", "condition_variable", "future", "chrono", "iostream", "fstream", "filesystem",
    "unistd.h", "absl/time/clock.h", "absl/synchronization/", "engine/base/clock.h",
)


# The front knows messages and no transport.
SERVICES = ("proto/ropeway/v1/admin.grpc.pb.h", "proto/ropeway/v1/ropeway.grpc.pb.h")


@dataclasses.dataclass(frozen=True)
class Folder:
    """What the files of one folder may include."""

    project: tuple = ()
    libraries: tuple = ("absl",)
    forbidden: tuple = ()  # header prefixes that stay forbidden in spite of the above


EVERYTHING = ("engine", "server", "proto")
ALL_LIBRARIES = tuple(LIBRARIES)
EXECUTOR_DEPENDENCIES = ("engine/base", "engine/api", "engine/tensor", "engine/position", "engine/model",
                         "engine/sample")
KERNEL_DEPENDENCIES = ("engine/base", "engine/tensor", "engine/position", "engine/kernels")

FOLDERS = {
    "engine/base": Folder(),
    "engine/api": Folder(("engine/base",)),
    "engine/tensor": Folder(("engine/base",)),
    "engine/position": Folder(("engine/base",)),
    "engine/kv": Folder(("engine/base", "engine/api"), forbidden=IMPURE),
    "engine/sched": Folder(("engine/base", "engine/api", "engine/kv"), forbidden=IMPURE),
    "engine/text": Folder(("engine/base", "engine/api"), ("absl", "json", "pcre2", "unicode")),
    "engine/sample": Folder(("engine/base", "engine/api")),
    "engine/kernels": Folder(KERNEL_DEPENDENCIES),
    "engine/kernels/cpu": Folder(KERNEL_DEPENDENCIES, ("absl", "intrinsics")),
    "engine/kernels/cuda": Folder(KERNEL_DEPENDENCIES + ("engine/sample/sampling_rule.h",), ("cuda",)),
    "engine/model": Folder(("engine/base", "engine/tensor", "engine/position"), ("absl", "json")),
    # What both executors load alike.
    "engine/exec": Folder(EXECUTOR_DEPENDENCIES + ("engine/kernels/lower_positions.h",
                                                   "engine/kernels/modifier_tables.h")),
    # Of kernels the table, and the layout of what the pack cache keeps.
    "engine/exec/cpu": Folder(EXECUTOR_DEPENDENCIES + ("engine/exec/score_modifiers.h", "engine/kernels/ops.h",
                                                       "engine/kernels/cpu/pack.h")),
    "engine/exec/cuda": Folder(EXECUTOR_DEPENDENCIES + ("engine/exec/score_modifiers.h", "engine/kernels/cuda")),
    "engine/inspect": Folder(("engine",), ("absl", "cli", "json")),
    "server": Folder(EVERYTHING, ALL_LIBRARIES),
    "server/net": Folder(("engine/base",)),
    "server/config": Folder(("engine/base", "engine/position/rope_override.h", "server/net", "server/obs/log_level.h")),
    "server/obs": Folder(("engine/base", "server/net"), ("absl", "prometheus", "grpc", "protobuf")),
    "server/keys": Folder(("engine/base",), ("absl", "openssl")),
    "server/auth": Folder(("engine/base", "server/keys"), ("absl", "openssl")),
    "server/admission": Folder(("engine/base", "engine/api", "server/keys/key_limits.h")),
    "server/stream": Folder(("engine/base", "engine/api")),
    "server/loop": Folder(("engine/base", "engine/api", "engine/sched", "engine/kv", "engine/text", "server/stream",
                           "server/obs")),
    "server/front": Folder(("proto", "engine/base", "engine/api", "engine/text", "server/admission", "server/auth",
                            "server/stream", "server/obs", "server/config/choices.h", "server/config/request_limits.h"),
                           ("absl", "json", "openssl", "protobuf"),
                           forbidden=SERVICES),
    "server/rpc": Folder(("proto", "engine/base", "server/admission", "server/auth", "server/front", "server/net"),
                         ("absl", "grpc", "protobuf")),
    "client": Folder(("proto",), ("absl", "grpc", "protobuf", "cli", "json", "curl")),
    # The file of keys is written by the command line and read by the server.
    "client/cli": Folder(("proto", "client", "server/keys"), ("absl", "grpc", "protobuf", "cli", "json", "curl")),
}


def starts(path, prefixes):
    """Whether `path` is or lies in one of these, or begins with one of the prefixes that end in a slash."""
    return any(path == p or path.startswith(p if p.endswith("/") else p + "/") for p in prefixes)


def folder_of(path):
    """The longest folder of FOLDERS that holds the file, or None."""
    parts = path.split("/")[:-1]
    while parts:
        if "/".join(parts) in FOLDERS:
            return "/".join(parts)
        parts.pop()
    return None


def library_of(header):
    """The library family of a header, or None for one that belongs to no listed family."""
    for name, prefixes in LIBRARIES.items():
        if any(header.startswith(p) for p in prefixes):
            return name
    return None


INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
PROJECT_TOPS = ("engine", "server", "client", "proto", "tests")


def check_include(path, header, quoted):
    """Returns why `path` may not include `header`, or None where it may."""
    folder = folder_of(path)
    if folder is None:
        return None
    rule = FOLDERS[folder]
    if starts(header, rule.forbidden):
        reason = "is pure (no threads, clocks or files)" if starts(header, IMPURE) else "knows no transport"
        return f"{folder} {reason} and may not include {header}"
    if header.split("/")[0] in PROJECT_TOPS and "/" in header:
        if starts(header, rule.project + (folder,)):
            return None
        return f"{folder} may not include {header} (it may include {', '.join(rule.project) or 'only itself'})"
    library = library_of(header)
    if library is not None and library not in rule.libraries:
        return f"{folder} may not include {header} (of {library}; its libraries are {', '.join(rule.libraries)})"
    if library is None and quoted:
        return f'"{header}" is neither a path from the top of the tree nor of a listed library'
    return None


def check_includes(path, lines):
    """Yields (line number, message) for each include of the file that the layering forbids."""
    if path.startswith(("engine/", "server/", "client/")) and folder_of(path) is None:
        yield 1, f"the folder of {path} is not in tests/lint/layers.py: say there what it may include"
    for number, line in enumerate(lines, 1):
        if found := INCLUDE.match(line):
            if message := check_include(path, found[2], found[1] == '"'):
                yield number, message

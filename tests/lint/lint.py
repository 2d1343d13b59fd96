#!/usr/bin/env python3
"""Checks what compilers do not: layering, include guards, lengths, and that no path of one machine slipped in.

Usage: lint.py [TOP]. Prints one "file:line: message" per finding; exit code 1 where there is any.
"""

import pathlib
import re
import subprocess
import sys

import layers

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70

CODE = (".cc", ".h", ".cu", ".cuh")
SOURCES = CODE + (".py", ".sh", ".cmake", ".proto", ".txt", ".md", ".yaml", ".yml", ".toml")
LENGTH_CHECKED = CODE + (".py", ".sh", ".proto")
# Golden data may hold any text.
EXEMPT = ("tests/golden/",)

# Absolute folders that exist on a developer's machine only. "/usr", "/etc", "/var", "/proc" and "/sys" are everyone's.
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:home|root|work|farm|Users|tmp|mnt|scratch)/\w")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
# What the kernels include once per instruction set says so.
TEXTUAL_HEADER = re.compile(r"// NOLINTNEXTLINE: textual header, no include guard\.")
SCOPE = re.compile(r"^(?:inline )?(?:namespace|struct|class|enum|union|extern|template|public|private|#|//|\})")


def check_lengths(path, lines):
    """Yields findings on the length of the file and of its top-level functions."""
    if len(lines) > MAX_FILE_LINES:
        yield 1, f"{len(lines)} lines; the limit is {MAX_FILE_LINES}: split by concept"
    if not path.endswith(CODE):
        return
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("}") and start is not None:
            if number - start + 1 > MAX_FUNCTION_LINES:
                yield start, f"a function of {number - start + 1} lines; the limit is {MAX_FUNCTION_LINES}"
            start = None
        elif line and not line[0].isspace() and not SCOPE.match(line):
            # The first unindented line of a definition; it may continue on indented lines before its brace.
            start = number if line.endswith(("{", ",", "(")) and " = " not in line else None


def check_guard(path, lines):
    """Yields a finding where a header has not the include guard that its path asks for."""
    if not path.endswith((".h", ".cuh")):
        return
    if path.startswith("engine/kernels/cpu/") and any(TEXTUAL_HEADER.match(line) for line in lines):
        return
    guard = "ROPEWAY_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper() + "_"
    if f"#ifndef {guard}" not in lines or f"#define {guard}" not in lines:
        yield 1, f"the include guard must be {guard}"


def check_words(_path, lines):
    """Yields findings on paths of one machine and on notes of unfinished work."""
    for number, line in enumerate(lines, 1):
        if found := MACHINE_PATH.search(line):
            yield number, f"a path of one machine ({found[0]}...)"
        if found := UNFINISHED.search(line):
            yield number, f"{found[0]}: finish it, or open an issue"


def findings(path, text):
    """All findings of one file, as (line number, message)."""
    if path.startswith(EXEMPT) or not path.endswith(SOURCES):
        return []
    lines = text.splitlines()
    found = list(check_words(path, lines))
    if path.endswith(LENGTH_CHECKED):
        found += check_lengths(path, lines)
    if path.endswith(CODE):
        found += check_guard(path, lines)
        found += layers.check_includes(path, lines)
    return sorted(found)


def project_files(top):
    """The files under version control or about to be; without git, all files outside build and model folders."""
    listing = subprocess.run(["git", "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, check=False) if (top / ".git").exists() else None
    if listing is not None and listing.returncode == 0:
        names = [name.decode() for name in listing.stdout.split(b"\0") if name]
    else:
        names = [str(path.relative_to(top)) for path in top.rglob("*")]
        names = [name for name in names if not name.startswith(("build/", "models/", ".git/"))]
    return sorted(name for name in set(names) if (top / name).is_file() and not (top / name).is_symlink())


def main(arguments):
    top = pathlib.Path(arguments[1] if len(arguments) > 1 else ".").resolve()
    files = [name for name in project_files(top) if name.endswith(SOURCES)]
    if not files:
        sys.exit(f"lint: no source files under {top}")
    count = 0
    for name in files:
        for line, message in findings(name, (top / name).read_text(encoding="utf-8", errors="replace")):
            print(f"{name}:{line}: {message}")
            count += 1
    print(f"lint: {len(files)} files, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

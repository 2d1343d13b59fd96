#!/usr/bin/env python3
"""Checks the code that nvcc makes of the shipped kernels, and tells what it needs of a processor.

Usage: check_ptx.py --ptxas PTXAS --readme README [--write] [--all_architectures] FILE.ptx...

For each kernel: no spills, no stack; 128-bit loads from global memory; mma.sync, cp.async and bulk copies, by an elected
lane, where kernel_facts.py wants them; wgmma, in kernels for it, not one after the other for ptxas' own reasons. The table in the
README must be the one that follows from these files, by the toolkit that it names; --write puts it there.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import kernel_facts

# Spills are looked for on those that the table has, or on all of these that ptxas knows, which takes some minutes: each
# has its own trade of registers for threads (8.9 is like 8.6).
ARCHITECTURES = (80, 86, 90, 100, 120)
# Of a streaming multiprocessor (CUDA programming guide, "Technical specifications per compute capability").
# 1 KiB of each block's shared memory is the system's.
SHARED_BYTES = {80: 164 * 1024, 90: 228 * 1024}
REGISTERS, THREADS, BLOCKS, SYSTEM_SHARED = 65536, 2048, 32, 1024

BULK_COPIES = {"boxes": "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes",
               "runs": "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"}

BEGIN, END = "<!-- table of check_ptx.py -->", "<!-- end of the table -->"


@dataclasses.dataclass
class Variant:
    """One instantiation of a kernel, as its PTX and ptxas tell."""

    source: str
    kernel: str
    name: str  # demangled
    threads: int
    body: str
    registers: dict = dataclasses.field(default_factory=dict)  # by architecture
    static_shared: int = 0
    problems: list = dataclasses.field(default_factory=list)

    def facts(self):
        return kernel_facts.KERNELS[self.source, self.kernel]

    def shared(self):
        return self.static_shared + self.facts().dynamic_shared(self.name)

    def occupancy(self, architecture):
        """Warps that a processor holds, of the 64 that it can."""
        warps = -(-self.threads // 32)
        per_warp = kernel_facts.round_up(self.registers[architecture] * 32, 256)
        blocks = min(BLOCKS, THREADS // self.threads, REGISTERS // (per_warp * warps),
                     SHARED_BYTES[architecture] // (kernel_facts.round_up(self.shared(), 128) + SYSTEM_SHARED))
        return blocks * warps / 64


def demangle(names):
    return subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True).stdout.split(
        "\n")


def read_variants(path):
    """The kernels of a PTX file, by mangled name."""
    text = path.read_text(encoding="utf-8")
    parts = re.split(r"^\s*(?:\.visible |\.weak )?\.entry ", text, flags=re.MULTILINE)[1:]
    mangled = [re.match(r"[\w$.]+", part)[0] for part in parts]
    variants = {}
    for symbol, name, part in zip(mangled, demangle(mangled), parts):
        name = re.sub(r"\(anonymous namespace\)::|ropeway::(cuda::)?|^void ", "", name)
        threads = re.search(r"\.maxntid (\d+)", part)
        variants[symbol] = Variant(path.name.split(".")[0], re.match(r"\w+", name)[0], name,
                                   int(threads[1]) if threads else 1024, part)
    return variants


def only_target(path):
    """"90a" of a PTX file that is for that architecture alone; none of one that later ones take, too."""
    found = re.search(r"^\.target sm_(\d+a)\b", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else None


def assemble(ptxas, path, architecture):
    """What `ptxas -v` says of each kernel: {mangled name: (registers, shared bytes, stack bytes, spill bytes)}."""
    done = subprocess.run([ptxas, "-v", f"-arch=sm_{architecture}", path, "-o", os.devnull], text=True,
                          capture_output=True, check=True)
    told = {}
    serialized = re.search(r"wgmma.mma_async instructions are serialized due to .*", done.stderr)
    if serialized:
        raise RuntimeError(f"{path}: {serialized[0]}")
    for part in done.stderr.split("Compiling entry function '")[1:]:
        stack, stores, loads = (int(re.search(rf"(\d+) bytes {what}", part)[1])
                                for what in ("stack frame", "spill stores", "spill loads"))
        shared = re.search(r"(\d+) bytes smem", part)
        told[part.split("'")[0]] = (int(re.search(r"Used (\d+) registers", part)[1]), int(shared[1]) if shared else 0,
                                    stack, stores + loads)
    return told


def check(variant):
    """Adds what is wrong with the variant's PTX to its problems."""
    if (variant.source, variant.kernel) not in kernel_facts.KERNELS:
        variant.problems.append("is not listed in kernel_facts.py")
        return
    facts = variant.facts()
    needs_wide = facts.vector_loads and not re.search(facts.scalar_variants, variant.name)
    wide = re.search(r"ld\.(?:volatile\.)?global\S*\.(?:v4\.\w32|v2\.\w64)|cp\.async\.c[ag]\.shared\.global\S* .*, 16",
                     variant.body)
    for wanted, found, what in ((facts.wgmma, "wgmma.mma_async" in variant.body, "wgmma"),
                                (facts.mma, "mma.sync" in variant.body, "mma.sync"),
                                (facts.cp_async, re.search(r"cp\.async\.(?!bulk)", variant.body), "cp.async"),
                                (facts.bulk, BULK_COPIES.get(facts.bulk, "") in variant.body and
                                 "mbarrier.try_wait" in variant.body, "bulk copies"),
                                (facts.bulk, "elect.sync" in variant.body, "lane that is elected to copy"),
                                (needs_wide, bool(wide), "128-bit loads from global memory")):
        if wanted and not found:
            variant.problems.append(f"has no {what}")


def check_registers(variant, architecture):
    """Adds a problem where warpgroups of a variant take more registers than one of them gives: they would wait for ever."""
    taken, given = (re.search(rf"setmaxnreg\.{way}\.sync\.aligned\.u32 (\d+)", variant.body) for way in ("inc", "dec"))
    if not taken and not given:
        return
    groups = variant.threads // 128
    if not taken or not given or (groups - 1) * int(taken[1]) + int(given[1]) > groups * variant.registers[architecture]:
        variant.problems.append(f"takes more than the {groups} times {variant.registers[architecture]} registers of its launch")


def inspect(ptxas, architectures, path):
    """The checked variants of a PTX file."""
    variants = read_variants(path)
    only = only_target(path)
    for architecture in [int(only[:-1])] if only else architectures:
        for symbol, (registers, shared, stack, spills) in assemble(ptxas, path, only or architecture).items():
            variant = variants[symbol]
            variant.registers[architecture] = registers
            variant.static_shared = shared
            check_registers(variant, architecture)
            if spills or stack:
                variant.problems.append(f"spills {spills} bytes, stack of {stack} bytes, on sm_{architecture}")
    for variant in variants.values():
        check(variant)
    return list(variants.values())


def span(values, form=str):
    low, high = min(values), max(values)
    return form(low) if low == high else f"{form(low)} to {form(high)}"


def table(variants, toolkit):
    """The README's table: a line per kernel, over its variants."""
    groups = collections.defaultdict(list)
    for variant in variants:
        groups[variant.source, variant.kernel].append(variant)
    lines = [f"By CUDA {toolkit}, from the PTX of compute_80; ranges are over a kernel's variants.", "",
             "| kernel | variants | threads | registers sm_80 / sm_90 | shared KiB | occupancy % sm_80 / sm_90 "
             "| 128-bit loads | mma.sync | cp.async | bytes moved (per token or row) |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for (source, kernel), group in sorted(groups.items()):
        registers, occupancy = (
            " / ".join(span([value(variant, architecture) for variant in group])
                       if architecture in group[0].registers else "-" for architecture in SHARED_BYTES)
            for value in (lambda variant, architecture: variant.registers[architecture],
                          lambda variant, architecture: round(100 * variant.occupancy(architecture))))
        facts = group[0].facts()
        lines.append(f"| {source}: {kernel} | {len(group)} | {span([v.threads for v in group])} | {registers} "
                     f"| {span([v.shared() / 1024 for v in group], '{:.1f}'.format)} | {occupancy} "
                     f"| {'yes' if facts.vector_loads else '-'} | {'yes, wgmma' if facts.wgmma else 'yes' if facts.mma else '-'} | {'yes, bulk' if facts.bulk and facts.cp_async else 'bulk' if facts.bulk else 'yes' if facts.cp_async else '-'} | {facts.moved} |")
    return "\n".join(lines)


def compare(readme, made, write):
    """Whether the README holds the table; puts it there if asked."""
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    held, after = rest.split(END)
    if write:
        readme.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
        return True
    if held.strip().split(",")[0] != made.split(",")[0]:
        print(f"another toolkit than the README's ({made.split(',')[0]}): its table is not compared")
        return True
    return held.strip() == made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptxas", required=True)
    parser.add_argument("--readme", type=pathlib.Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--all_architectures", action="store_true")
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    known = subprocess.run([arguments.ptxas, "--help"], text=True, capture_output=True, check=True).stdout
    wanted = ARCHITECTURES if arguments.all_architectures else SHARED_BYTES
    architectures = [architecture for architecture in wanted if f"'sm_{architecture}'" in known]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        variants = [variant for found in pool.map(
                        lambda path: inspect(arguments.ptxas, architectures, path), arguments.files)
                    for variant in found]
    problems = [f"{variant.source}: {variant.name} {problem}" for variant in variants for problem in variant.problems]
    for problem in problems:
        print(problem)
    version = subprocess.run([arguments.ptxas, "--version"], text=True, capture_output=True, check=True).stdout
    print(f"{len(variants)} variants of kernels on sm_{', sm_'.join(map(str, architectures))}: {len(problems)} problems")
    if problems or not variants:
        return 1
    made = table(variants, re.search(r"release ([\d.]+)", version)[1])
    if not compare(arguments.readme, made, arguments.write):
        print(f"the table of {arguments.readme} is not this one (check_ptx.py --write puts it there):\n{made}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env bash
# Configures and builds one preset. Says nothing but where it fails; the output is in build/PRESET/build.log.
#
# Usage: deploy/build.sh PRESET [TARGET...]    (presets: see CMakePresets.json; default target: all)
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?build.sh: give a preset of CMakePresets.json}
shift
log=build/$preset/build.log
mkdir -p "build/$preset" 2>/dev/null || { echo "build.sh: cannot write to build/$preset: make it writable" >&2; exit 1; }

# What was compiled once is found again in another folder, too: another checkout, or the image of the Dockerfile.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true LANG=C.UTF-8

# A large translation unit of gRPC code takes more than a gigabyte.
jobs=$(nproc)
by_memory=$(awk '/^MemAvailable:/ {print int($2 / 1500000)}' /proc/meminfo)
[ "$by_memory" -ge "$jobs" ] || jobs=$((by_memory > 0 ? by_memory : 1))

failed() {
  # What ninja prints of the commands that succeeded ("[3/90] Building ...") is of no interest here.
  grep -v '^\[[0-9]*/[0-9]*\] ' "$log" | tail -n 100 >&2
  echo "build.sh: $1 failed; the whole output is in $log" >&2
  exit 1
}
cmake --preset "$preset" >"$log" 2>&1 || failed "configuring preset $preset"
cmake --build "build/$preset" --parallel "$jobs" ${@:+--target "$@"} >"$log" 2>&1 || failed "building preset $preset"

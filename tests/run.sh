#!/usr/bin/env bash
# Installs what is missing, builds, fetches the models and runs all tests. The last line is ctest's summary.
#
# Usage: tests/run.sh [PRESET] [CTEST ARGUMENT...]    (presets: release, dev, asan, tsan, clang; default release)
#   tests/run.sh                      everything, optimised
#   tests/run.sh asan -R sched        the scheduler's tests under AddressSanitizer
# Exit code 0 only if everything was built and every test passed.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
case "${1:-}" in
  release | dev | asan | tsan | clang) preset=$1 && shift ;;
  -* | "") ;;
  *) echo "run.sh: '$1' is no preset (release, dev, asan, tsan, clang) and no flag of ctest" >&2 && exit 2 ;;
esac

step() { echo "[$((SECONDS / 60))m$((SECONDS % 60))s] $*"; }
warn() { printf '\n*** WARNING: %s\n\n' "$*" >&2; }

deploy/install_packages.sh build test $([ "$preset" != clang ] || echo clang)
# Where containers cannot be had, their test says so and is skipped.
[ "$(id -u)" -ne 0 ] || deploy/install_packages.sh container || warn "no container tools: the image will not be tested"
deploy/fetch_model.sh smollm2
deploy/fetch_model.sh gemma3 || warn "no Gemma 3 model: the tests that need it will not pass"
tests/golden/fetch_vocabularies.sh || warn "no vocabularies or templates: the tests that need them will not pass"

step "building preset $preset"
deploy/build.sh "$preset"

# Kernels are executed by tests/cuda_emulation everywhere; only what nvcc makes of them depends on the machine.
grep -qx "ROPEWAY_CUDA_BUILT:INTERNAL=TRUE" "build/$preset/CMakeCache.txt" ||
  warn "libropeway_cuda.so is not built ($(sed -n 's/^ROPEWAY_CUDA_BUILT:INTERNAL=//p' "build/$preset/CMakeCache.txt")):" \
       "neither nvcc's view of the CUDA kernels nor a real device is tested; the kernels run in the emulation"

step "running the tests"
log=build/$preset/ctest.log
code=0
# Tests that pass are not worth a line. The log has them all.
ctest --test-dir "build/$preset" --parallel "$(nproc)" --output-on-failure --no-tests=error "$@" 2>&1 | tee "$log" |
  { grep -Ev --line-buffered '^ +Start |  +Passed +|^Internal ctest|^Test project|^[0-9]+% tests passed|^$' || true; } ||
  code=$?
skipped=$(sed -n 's/^ *[0-9]* - \(.*\) (Skipped)$/\1/p' "$log")
[ -z "$skipped" ] || warn "skipped: $skipped; build/$preset/Testing/Temporary/LastTest.log says why"
summary=$(grep -E '^[0-9]+% tests passed' "$log") || summary="no test ran: see $log"
step "done"
echo "$summary"
exit "$code"

#!/usr/bin/env bash
# Installs what is missing, builds, fetches the models and runs all tests. The last line is ctest's summary.
#
# Usage: tests/run.sh [PRESET] [CTEST ARGUMENT...]    (presets: release, dev, asan, tsan, clang; default release)
#        tests/run.sh fuzz [SECONDS] [TARGET...]      (default: 60 seconds each, all targets of tests/fuzz)
#   tests/run.sh                      everything, optimised
#   tests/run.sh asan -R sched        the scheduler's tests under AddressSanitizer
#   tests/run.sh fuzz 300 gguf_fuzz   five minutes of libFuzzer on GGUF files, from what it found before
# Exit code 0 only if everything was built and every test passed, or no fuzzing found anything.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo "[$((SECONDS / 60))m$((SECONDS % 60))s] $*"; }
warn() { printf '\n*** WARNING: %s\n\n' "$*" >&2; }
die() { echo "run.sh: $*" >&2; exit 2; }

# Runs libFuzzer on one target, beginning with its seeds and with the corpus of earlier runs, which it adds to.
fuzz_target() {
  local target=$1 seconds=$2 corpus=build/fuzz/corpus/$1 findings=build/fuzz/findings log=build/fuzz/$1.log
  mkdir -p "$corpus" "$findings"
  "build/fuzz/tests/${target}_test" --write_corpus "$corpus"
  ASAN_OPTIONS=intercept_memmem=0 "build/fuzz/bin/$target" "$corpus" -max_total_time="$seconds" -max_len=65536 -timeout=20 \
    -rss_limit_mb=2048 -artifact_prefix="$findings/$target-" -print_final_stats=1 >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    echo "run.sh: $target found something: build/fuzz/bin/$target FILE repeats it; $log has all" >&2
    return 1
  }
  step "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs," \
       "$(find "$corpus" -type f | wc -l) inputs in $corpus"
}

fuzz() {
  local seconds=60 target found=0
  if [[ "${1:-}" =~ ^[0-9]+$ ]]; then seconds=$((10#$1)) && shift; fi
  # To libFuzzer, 0 is for ever.
  [ "$seconds" -gt 0 ] || die "SECONDS must be at least 1, is 0"
  [ $# -gt 0 ] || set -- $(cd tests/fuzz && ls *_fuzz.cc | sed 's/\.cc$//')
  for target; do
    [ -f "tests/fuzz/$target.cc" ] || die "'$target' is no target of tests/fuzz"
  done
  deploy/install_packages.sh build clang
  step "building the targets of preset fuzz"
  deploy/build.sh fuzz fuzz_targets
  for target; do
    fuzz_target "$target" "$seconds" || found=1
  done
  exit "$found"
}

preset=release
case "${1:-}" in
  fuzz) shift && fuzz "$@" ;;
  release | dev | asan | tsan | clang) preset=$1 && shift ;;
  -* | "") ;;
  *) die "'$1' is no preset (release, dev, asan, tsan, clang, fuzz) and no flag of ctest" ;;
esac

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

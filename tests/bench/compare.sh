#!/usr/bin/env bash
# Ropeway beside OpenVINO GenAI and llama.cpp on the same files, machine and minutes, in turn: prompts of 512 to 8,000 tokens,
# decode of 1, 8 and 32 streams, both also beside two busy processes, served, and in the shape of a model of 1B. Prints a table
# of tokens per second and ratios; compare ratios only, since machines are noisy.
#
# Usage: tests/bench/compare.sh [MODEL.gguf] [flags of compare.py, such as --rounds 3 --groups engine,busy --svg FILE]
# Peers, of which those are measured that are there:
#   llama.cpp       LLAMA_BIN is a folder with llama-bench, llama-batched-bench and llama-server; `tests/bench/build_llama_cpp.sh
#                   build/llama.cpp` builds them, ten minutes on two cores. Default: build/llama.cpp/bin.
#   OpenVINO GenAI  OPENVINO_PYTHON is a python that has openvino-genai of PyPI; `tests/bench/install_openvino.sh build/openvino`
#                   installs it. Default: build/openvino/bin/python.
set -euo pipefail
cd "$(dirname "$0")/../.."

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ ${1:-} == *.gguf ]]; then model=$1 && shift; fi
[ -f "$model" ] || { echo "compare.sh: no model '$model': run deploy/fetch_model.sh first" >&2; exit 2; }
cmake --preset release -DROPEWAY_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target engine_bench ropeway ropeway_server >/dev/null
# The shape of Llama-3.2-1B, with random weights.
large=build/random-1b.gguf
[ -f "$large" ] || python3 tests/tools/random_gguf.py 1b "$large"
exec python3 tests/bench/compare.py --model "$model" --large_model "$large" "$@"

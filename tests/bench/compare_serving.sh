#!/usr/bin/env bash
# Ropeway's server beside llama.cpp's: the same load from `ropeway bench` on the same file and machine, 1, 8 and 32
# streams, in turn. Prints a table; compare ratios only, since machines are noisy.
#
# Usage: tests/bench/compare_serving.sh [MODEL.gguf] [ROUNDS] [PROMPT_TOKENS] [OUTPUT_TOKENS]
# LLAMA_BIN is a folder with llama-server (default: build/llama.cpp/bin, see build_llama_cpp.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

model=${1:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
rounds=${2:-3}
prompt_tokens=${3:-128}
output_tokens=${4:-64}
threads=$(nproc)
ours=127.0.0.1:50151
theirs=127.0.0.1:50152
bin=build/release/bin
llama=${LLAMA_BIN:-build/llama.cpp/bin}
[ -x "$llama/llama-server" ] || tests/bench/build_llama_cpp.sh build/llama.cpp

log=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$log"' EXIT
"$bin/ropeway_server" --model "$model" --listen "$ours" --metrics_listen "" --threads "$threads" >"$log/ours.log" 2>&1 &
servers+=($!)
# As many slots as there are streams, each with room for its request; prompts are not kept, as ours are not either.
"$llama/llama-server" -m "$model" --host "${theirs%:*}" --port "${theirs#*:}" -t "$threads" --parallel 32 --kv-unified \
  -c $((32 * (prompt_tokens + output_tokens + 16))) --cache-ram 0 --no-cache-prompt >"$log/theirs.log" 2>&1 &
servers+=($!)
"$bin/ropeway" health --server "$ours" --wait 60 >/dev/null
for ((second = 0; second < 60; ++second)); do
  ! curl -fsS "http://$theirs/health" >/dev/null 2>&1 || break
  sleep 1
done

for ((round = 1; round <= rounds; ++round)); do
  for streams in 1 8 32; do
    load=(--concurrency "$streams" --requests $((streams < 8 ? 8 : 2 * streams)) --prompt_tokens "$prompt_tokens"
          --output_tokens "$output_tokens" --seed "$round" --vocab_size 49152 --json)
    echo "round $round of $rounds, $streams streams" >&2
    "$bin/ropeway" bench --server "$ours" "${load[@]}" >"$log/ours.$round.$streams"
    "$bin/ropeway" bench --server "$theirs" --backend openai "${load[@]}" >"$log/theirs.$round.$streams"
  done
done
python3 - "$log" "$rounds" <<'PYTHON'
import json, pathlib, statistics, sys

folder, rounds = pathlib.Path(sys.argv[1]), range(1, int(sys.argv[2]) + 1)
COLUMNS = {"output_throughput": "tokens/s", "median_ttft_ms": "TTFT ms", "median_tpot_ms": "TPOT ms"}
print("| streams | " + " | ".join(f"{name}: Ropeway | llama.cpp | ratio" for name in COLUMNS.values()) + " |")
print("|---|" + "---|---|---|" * len(COLUMNS))
for streams in (1, 8, 32):
    cells = []
    for key in COLUMNS:
        ours, theirs = ([json.loads((folder / f"{side}.{i}.{streams}").read_text())[key] for i in rounds]
                        for side in ("ours", "theirs"))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        cells += [f"{statistics.median(ours):.4g}", f"{statistics.median(theirs):.4g}", f"{ratio:.2f}"]
    print(f"| {streams} | " + " | ".join(cells) + " |")
PYTHON

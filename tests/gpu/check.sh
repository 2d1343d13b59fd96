#!/usr/bin/env bash
# Checks and measures the CUDA engine on this machine's GPU: one command, about five minutes. Runs in the folder that pack.sh
# packed; needs bash, the driver, and cuBLASLt and NCCL, which CUDA's packages have as well as PyTorch's.
#
# Usage: check.sh [--model FILE] [--out FOLDER] [--quick]
#   --model FILE   SmolLM2-135M-Instruct.Q4_1.gguf (default: models/ here); without it real prompts are skipped
#   --out FOLDER   gets table.txt, table.json, and the whole output of every step (default: results)
#   --quick        tests alone
# The environment's CUDA_LIBRARIES names the folders of libcublasLt.so and libnccl.so, separated by colons, where neither the
# loader nor a search of /usr and /opt finds them.
#
# Exit code 0 only if every step that could run passed; 2 where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
out=results
quick=0
while [ $# -gt 0 ]; do
  case "$1" in
    --model) model=${2:?--model needs a file} && shift 2 ;;
    --out) out=${2:?--out needs a folder} && shift 2 ;;
    --quick) quick=1 && shift ;;
    *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" models
out=$(cd "$out" && pwd)
# Where tests look for it.
[ ! -s "$model" ] || [ models/SmolLM2-135M-Instruct.Q4_1.gguf -ef "$model" ] ||
  ln -sfn "$(realpath "$model")" models/SmolLM2-135M-Instruct.Q4_1.gguf
has_model=0
[ ! -s models/SmolLM2-135M-Instruct.Q4_1.gguf ] || has_model=1

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
[ -n "$gpu" ] || { echo "check.sh: nvidia-smi finds no GPU" >&2; exit 2; }

# The folder of a library that the loader does not find by itself.
folder_of() {
  ldconfig -p 2>/dev/null | grep -q "$1" && return
  find /usr /opt -name "$1*" \( -type f -o -type l \) -printf '%h\n' 2>/dev/null | head -n 1
}
LD_LIBRARY_PATH=$PWD/lib:${CUDA_LIBRARIES:-$(folder_of libcublasLt.so.):$(folder_of libnccl.so.)}:${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH

rows=()    # "what|result|figure"
failed=0
record() { rows+=("$1|$2|$3") && printf '%-44s %-8s %s\n' "$1" "$2" "$3"; }
# step NAME LIMIT COMMAND...: its output goes to a file; a test's figure is what it says last.
step() {
  local name=$1 limit=$2 file begin=$SECONDS code=0 result=pass
  shift 2
  file=$out/${name//[^A-Za-z0-9]/_}.txt
  timeout "$limit" "$@" >"$file" 2>&1 || code=$?
  # Tests that find no device (77), or none to run, prove nothing: there is a GPU.
  if [ "$code" -ne 0 ] || grep -aqE '^\[  PASSED  \] 0 tests' "$file"; then result=FAIL && failed=1; fi
  local figure
  figure=$(grep -aoE '^\[  (PASSED|FAILED)  \] [0-9]+ tests?' "$file" | tr -d '[]' | xargs echo)
  [ "$code" -ne 124 ] || figure="not done after $limit s"
  record "$name" "$result" "${figure:-exit code $code}, $((SECONDS - begin)) s"
}

echo "$gpu, commit $(cat COMMIT), $(date -u +%F)"
step "kernels on the device" 120 bin/kernels_cuda_device_test
filter='*device_*'
[ "$has_model" -eq 1 ] || filter+=':-*GoldenPrompts*'
step "engine: golden models, same bytes in batches" 150 bin/executors_test --gtest_filter="$filter"
[ "$has_model" -eq 1 ] || record "engine: golden prompts of SmolLM2" skipped "$model is not there"

# served STREAMS: tokens per second of a running server; nothing where the load ended in an error.
served() {
  timeout 120 bin/ropeway bench --concurrency "$1" --requests $(($1 * 4)) --prompt_tokens 128 --output_tokens 128 --vocab_size 49152 --json |
    sed -n 's/.*"output_throughput": *\([0-9.]*\).*/\1/p' | head -n 1
}
measure_served() {
  local server log=$out/server.txt
  bin/ropeway_server --device=cuda --model=models/SmolLM2-135M-Instruct.Q4_1.gguf --metrics_listen= >"$log" 2>&1 &
  server=$!
  if bin/ropeway health --wait 60 >/dev/null 2>&1; then
    for streams in 1 8 64 128; do
      local figure
      if figure=$(served "$streams") && [ -n "$figure" ]; then
        record "served, SmolLM2, $streams streams" figure "$figure tokens/s"
      else
        failed=1 && record "served, SmolLM2, $streams streams" FAIL "the load ended in an error"
      fi
    done
  else
    failed=1 && record "served, SmolLM2" FAIL "the server does not start: $log"
  fi
  kill "$server" 2>/dev/null
  timeout 40 tail --pid="$server" -f /dev/null || kill -9 "$server"
}
if [ "$quick" -eq 0 ]; then
  for shape in 8b smollm2; do
    step "operations of $shape" 90 bin/cuda_bench --shape="$shape" --json="$out/operations_$shape.json"
    cat "$out/operations_of_$shape.txt"
  done
  for type in BF16 Q8_0 Q4_K; do
    step "steps of 8b in $type" 75 bin/engine_bench --device=cuda --shape=8b --type="$type" --benchmark_min_time=0.3 \
      --benchmark_out="$out/steps_$type.json"
    grep -aE '^(Prefill|Decode)' "$out/steps_of_8b_in_$type.txt"
  done
  [ "$has_model" -eq 0 ] || measure_served
fi

{
  echo "$gpu, commit $(cat COMMIT), $(date -u +%F)"
  printf '%-44s %-8s %s\n' "what" "result" "figure"
  for row in "${rows[@]}"; do IFS='|' read -r what result figure <<<"$row"; printf '%-44s %-8s %s\n' "$what" "$result" "$figure"; done
} >"$out/table.txt"
{
  printf '{"gpu": "%s", "commit": "%s", "date": "%s", "rows": [' "$gpu" "$(cat COMMIT)" "$(date -u +%F)"
  separator=
  for row in "${rows[@]}"; do
    IFS='|' read -r what result figure <<<"$row"
    printf '%s\n {"what": "%s", "result": "%s", "figure": "%s"}' "$separator" "$what" "$result" "$figure"
    separator=,
  done
  printf '\n]}\n'
} >"$out/table.json"
echo
cat "$out/table.txt"
exit "$failed"

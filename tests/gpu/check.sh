#!/usr/bin/env bash
# Checks and measures the CUDA engine on this machine's GPU: one command, within --seconds. Runs in the folder that
# pack.sh packed; needs bash, awk, the driver, and cuBLASLt and NCCL, which CUDA's packages have as well as PyTorch's.
#
# Usage: check.sh [--model FILE] [--out FOLDER] [--seconds N] [--shape NAME] [--quick]
#   --model FILE   SmolLM2-135M-Instruct.Q4_1.gguf (default: models/ here); without it real prompts are skipped
#   --out FOLDER   gets table.txt, table.json, choices.txt, and the whole output of every step (default: results)
#   --seconds N    that all of it may take (default 540): steps that find no time left are skipped
#   --shape NAME   of the decoder that is timed (default 8b, which goals are for; tiny proves that this runs)
#   --quick        tests alone
# The environment's CUDA_LIBRARIES names the folders of libcublasLt.so and libnccl.so, separated by colons, where neither the
# loader nor a search of /usr and /opt finds them.
#
# The tables are written anew after each step, so that they are there when somebody ends it. Exit code 0 only if every step
# that could run passed, whether goals (goals.txt) were met or not; 2 where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
out=results
seconds=540
shape=8b
quick=0
while [ $# -gt 0 ]; do
  case "$1" in
    --model) model=${2:?--model needs a file} && shift 2 ;;
    --out) out=${2:?--out needs a folder} && shift 2 ;;
    --seconds) seconds=${2:?--seconds needs a number} && shift 2 ;;
    --shape) shape=${2:?--shape needs a name} && shift 2 ;;
    --quick) quick=1 && shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
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
title="$gpu, commit $(cat COMMIT), $(date -u +%F)"

# The folder of a library that the loader does not find by itself.
folder_of() {
  ! ldconfig -p 2>/dev/null | grep "$1" >/dev/null || return
  find /usr /opt -name "$1*" \( -type f -o -type l \) -printf '%h\n' 2>/dev/null | sed -n 1p
}
readonly before=${LD_LIBRARY_PATH:-}
LD_LIBRARY_PATH=$PWD/lib:${CUDA_LIBRARIES:-$(folder_of libcublasLt.so.):$(folder_of libnccl.so.):$(folder_of libcupti.so.)}
LD_LIBRARY_PATH+=:$before
export LD_LIBRARY_PATH

rows=()    # "what|result|figure|goal|floor"
failed=0
# record WHAT RESULT FIGURE [GOAL FLOOR]
record() {
  [ "$2" != FAIL ] || failed=1
  rows+=("$1|$2|$3|${4:--}|${5:--}")
  printf '%-46s %-8s %s\n' "$1" "$2" "$3"
  write_tables
}
escaped() { local text=${1//\\/\\\\} && printf '%s' "${text//\"/\\\"}"; }
write_tables() {
  local row what result figure goal floor separator=
  {
    printf '%s\n%-46s %-8s %-34s %-10s %s\n' "$title" what result figure goal floor
    for row in "${rows[@]}"; do
      IFS='|' read -r what result figure goal floor <<<"$row"
      printf '%-46s %-8s %-34s %-10s %s\n' "$what" "$result" "$figure" "$goal" "$floor"
    done
  } >"$out/table.txt"
  {
    printf '{"title": "%s", "rows": [' "$(escaped "$title")"
    for row in "${rows[@]}"; do
      IFS='|' read -r what result figure goal floor <<<"$row"
      printf '%s\n {"what": "%s", "result": "%s", "figure": "%s", "goal": "%s", "floor": "%s"}' "$separator" \
        "$(escaped "$what")" "$result" "$(escaped "$figure")" "$goal" "$floor"
      separator=,
    done
    printf '\n]}\n'
  } >"$out/table.json"
}

output_of() { echo "$out/${1//[^A-Za-z0-9]/_}.txt"; }
# number_in FILE LINE NUMBER: as goals.txt says; nothing where there is no such line.
number_in() {
  awk -v line="$2 " -v number="$3" '
    function value(words) {
      if (number ~ /^us/) return $(NF - 3)
      if (number == "GB/s") return $(NF - 2)
      if (number == "TFLOP/s") return $(NF - 1)
      if (number == "%") { sub(/%/, "", $NF); return $NF }
      if (number ~ /^tokens/) return substr(number, 10) * 1000 / $(words + 1)
      return $(words + 1)
    }
    { $1 = $1 }
    index($0, line) == 1 { printf "%.6g\n", value(split(line, parts, " ")); exit }' "$1"
}
# Figures of a step that goals.txt names, each beside its goal.
hold_to_goals() {
  local step line number goal floor what value base result unit
  while IFS='|' read -r step line number goal floor what; do
    read -r step <<<"$step" && read -r line <<<"$line" && read -r number <<<"$number"
    read -r goal <<<"$goal" && read -r floor <<<"$floor" && read -r what <<<"$what"
    [ "$step" = "$1" ] || continue
    value=$(number_in "$(output_of "$1")" "$line" "$number") unit=${number%% *}
    if [ -n "$value" ] && [[ "$number" == *" over "* ]]; then
      base=$(number_in "$(output_of "$1")" "${number#* over }" us)
      value=$(awk -v a="$value" -v b="${base:-0}" 'BEGIN { printf "%.6g", a - b }')
    fi
    result=figure
    if [ -z "$value" ]; then
      result=missing
    elif [ "$goal" != - ]; then
      awk -v value="$value" -v goal="${goal#* }" -v how="${goal% *}" \
        'BEGIN { exit !(how == "<=" ? value <= goal : value >= goal) }' && result=met || result=missed
    fi
    record "$what" "$result" "${value:-none} $unit" "$goal" "$floor"
  done < <(grep -vE '^(#|$)' goals.txt)
}

# step NAME LIMIT COMMAND...: its output goes to a file; a test's figure is what it says last.
step() {
  local name=$1 limit=$2 file begin=$SECONDS code=0 result=pass left=$((seconds - SECONDS))
  shift 2
  file=$(output_of "$name")
  if [ "$left" -lt 10 ]; then
    : >"$file" && record "$name" skipped "no time left"
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  timeout -k 5 "$limit" "$@" >"$file" 2>&1 || code=$?
  # Tests that find no device (77), or none to run, prove nothing: there is a GPU.
  if [ "$code" -ne 0 ] || grep -aqE '^\[  PASSED  \] 0 tests' "$file"; then result=FAIL; fi
  local figure
  figure=$(grep -aoE '^\[  (PASSED|FAILED)  \] [0-9]+ tests?' "$file" | tr -d '[]' | xargs echo)
  [ "$code" -ne 124 ] && [ "$code" -ne 137 ] || figure="not done after $limit s"
  record "$name" "$result" "${figure:-exit code $code}, $((SECONDS - begin)) s"
  [ "$result" = pass ] || tail -n 15 "$file"
  hold_to_goals "$name"
  [ "$result" = pass ]
}
bench() { step "$1" "$2" bin/engine_bench --device=cuda --benchmark_min_time=0.3 "${@:3}"; }
# What ran when, launch by launch, in a file of its own.
timeline() {
  CUDA_INJECTION64_PATH=$PWD/lib/libcuda_timeline.so ROPEWAY_TIMELINE=$(output_of "$1 launches") \
    step "$1" 30 bin/engine_bench --device=cuda --benchmark_min_time=0.05 "${@:2}"
}

# What a server does with what it cannot trust: wgmma, bulk copies, and algorithms of cuBLASLt.
record_checks() {
  local file
  file=$(output_of "steps of 8b in BF16")
  if grep -q 'prompts: wgmma, whose bytes' "$file"; then
    record "wgmma gives the bytes of mma.sync" pass "checked at load"
  elif grep -q 'prompts: mma.sync, since' "$file"; then
    record "wgmma gives the bytes of mma.sync" FAIL "$(grep -o 'mma.sync, since .*' "$file" | head -n 1)"
  fi
  if grep -q 'few tokens: bulk copies, whose bytes' "$file"; then
    record "bulk copies give the bytes of cp.async" pass "checked at load"
  elif grep -q 'few tokens: cp.async, since' "$file"; then
    record "bulk copies give the bytes of cp.async" FAIL "$(grep -o 'cp.async, since .*' "$file" | head -n 1)"
  fi
  record "how cuBLASLt multiplies" figure "$(grep '^W \[' "$file" | grep -o '[0-9] refused' | wc -l) classes with algorithms refused, \
$(grep '^W \[' "$file" | grep -o 'our own kernel' | wc -l) without any, of $(grep '^W \[' "$file" | grep -o 'up to' | wc -l)"
}
# Answers of four processes of the same weights.
compare_answers() {
  local name hashes
  hashes=$(for name in "steps of 8b in BF16" "wgmma off" "bulk copies off" "one step in flight"; do
    grep -aoE '^answers: .*hash [0-9a-f]+' "$(output_of "$name")" | awk '{print $NF}'
  done)
  local runs
  runs=$(wc -w <<<"$hashes")
  if [ "$runs" -eq 4 ] && [ "$(sort -u <<<"$hashes" | wc -l)" -eq 1 ]; then
    record "the same answers by all ways" pass "4 runs, hash $(head -n 1 <<<"$hashes")"
  else
    record "the same answers by all ways" FAIL "$runs runs, hashes $(xargs echo <<<"$hashes")"
  fi
}
# Of operations that were timed by several kernels: which one was fastest, where a threshold chooses among them.
write_choices() {
  awk '
    { $1 = $1 }
    NF < 6 { next }
    { time = $(NF - 3); key = $1; variant = ""; for (i = 2; i <= NF - 4; ++i) key = key " " $i }
    match(key, / tiles of [0-9]+/) { variant = substr(key, RSTART + 1, RLENGTH - 1); sub(/ tiles of [0-9]+/, "", key) }
    /^(streamed|bulk|library|packed|unpacked|apart|fused|normed) / { variant = $1; sub(/^[^ ]+ /, "", key) }
    variant != "" {
      if (!(key in all)) { order[++count] = key; least[key] = 1e30 }
      all[key] = all[key] ", " variant " " time
      if (time + 0 < least[key]) { least[key] = time + 0; best[key] = variant }
    }
    END { for (i = 1; i <= count; ++i) printf "%-44s %-12s us: %s\n", order[i], best[order[i]], substr(all[order[i]], 3) }' \
    "$(output_of "operations of 8b")" >"$out/choices.txt"
  cat "$out/choices.txt"
}

# served STREAMS: tokens per second of a running server; nothing where the load ended in an error.
served() {
  timeout 60 bin/ropeway bench --concurrency "$1" --requests $(($1 * 4)) --prompt_tokens 128 --output_tokens 128 --vocab_size 49152 --json |
    sed -n 's/.*"output_throughput": *\([0-9.]*\).*/\1/p' | head -n 1
}
measure_served() {
  local server streams figure log=$out/server.txt
  [ $((seconds - SECONDS)) -ge 60 ] || { record "served, SmolLM2" skipped "no time left"; return; }
  bin/ropeway_server --device=cuda --model=models/SmolLM2-135M-Instruct.Q4_1.gguf --metrics_listen= >"$log" 2>&1 &
  server=$!
  if bin/ropeway health --wait 60 >/dev/null 2>&1; then
    for streams in 1 8 64 128; do
      if [ $((seconds - SECONDS)) -lt 10 ]; then
        record "served, SmolLM2, $streams streams" skipped "no time left"
      elif figure=$(served "$streams") && [ -n "$figure" ]; then
        record "served, SmolLM2, $streams streams" figure "$figure tokens/s"
      else
        record "served, SmolLM2, $streams streams" FAIL "the load ended in an error"
      fi
    done
  else
    record "served, SmolLM2" FAIL "the server does not start: $log"
  fi
  kill "$server" 2>/dev/null
  timeout 40 tail --pid="$server" -f /dev/null || kill -9 "$server"
}
# Kernels that have been on no device yet, once more under a sanitizer, which is slow.
sanitize() {
  local new='*Warpgroup*:*Fp8*:*Expert*:*Fused*:*StreamMatMul*:*StreamBulk*:*Packed*:*TakeTokens*:*Attention*:*Sample*:*Qkv*:*CopyBytes*'
  command -v compute-sanitizer >/dev/null || { record "compute-sanitizer" skipped "is not there"; return; }
  step "memcheck of new kernels" 120 compute-sanitizer --tool memcheck --error-exitcode 1 \
    bin/kernels_cuda_device_test --gtest_filter="$new"
  step "racecheck of new kernels" 120 compute-sanitizer --tool racecheck --error-exitcode 1 \
    bin/kernels_cuda_device_test --gtest_filter="$new"
}
measure() {
  local type
  bench "steps of 8b in BF16" 90 --shape="$shape" --answers=80 && record_checks
  bench "wgmma off" 60 --shape="$shape" --answers=80 --wgmma=off --benchmark_filter=Prefill
  bench "bulk copies off" 60 --shape="$shape" --answers=80 --bulk_copies=off '--benchmark_filter=Decode/streams:(1|8)/context:512/'
  bench "one step in flight" 60 --shape="$shape" --answers=80 --steps_in_flight=1 '--benchmark_filter=Decode/streams:(1|64)/'
  compare_answers
  for type in Q4_K Q8_0; do bench "steps of 8b in $type" 75 --shape="$shape" --type="$type" --answers=80; done
  bench "steps of 8b in fp8" 75 --shape="$shape" --weights=fp8 --answers=80
  bench "steps of smollm2" 60 --shape="${shape/8b/smollm2}" --type=F16 --answers=80
  step "operations of 8b" 150 bin/cuda_bench --shape="$shape" --json="$out/operations_8b.json"
  write_choices
  timeline "timeline of 8b, 1 stream" --shape="$shape" '--benchmark_filter=Decode/streams:1/'
  timeline "timeline of 8b, 64 streams" --shape="$shape" '--benchmark_filter=Decode/streams:64/'
  timeline "timeline of 8b, prompt" --shape="$shape" --benchmark_filter=Prefill/2048
  [ "$has_model" -eq 0 ] || measure_served
  step "operations of smollm2" 90 bin/cuda_bench --shape="${shape/8b/smollm2}" --json="$out/operations_smollm2.json"
}

echo "$title"
step "kernels on the device" 150 bin/kernels_cuda_device_test
filter='*device_*'
[ "$has_model" -eq 1 ] || filter+=':-*GoldenPrompts*'
step "engine: golden models, same bytes in batches" 150 bin/executors_test --gtest_filter="$filter"
[ "$has_model" -eq 1 ] || record "engine: golden prompts of SmolLM2" skipped "$model is not there"
if [ "$quick" -eq 0 ]; then
  measure
  sanitize
fi
echo
cat "$out/table.txt"
exit "$failed"

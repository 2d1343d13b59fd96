#!/usr/bin/env bash
# Checks and measures the CUDA engine on this machine's GPU: one command, within --seconds. Runs in the folder that
# pack.sh packed; needs bash, awk, the driver, and cuBLASLt and NCCL, which CUDA's packages have as well as PyTorch's.
#
# Usage: check.sh [--model FILE] [--out FOLDER] [--seconds N] [--shape NAME] [--quick]
#   --model FILE   SmolLM2-135M-Instruct.Q4_1.gguf (default: models/ here); without it real prompts are skipped
#   --out FOLDER   gets table.txt, table.json, choices.txt, and the whole output of every step (default: results)
#   --seconds N    that all of it may take (default 300): what tells most goes first, what finds no time left is not run
#   --shape NAME   of the decoder that is timed (default 8b, which goals are for; tiny proves that this runs)
#   --quick        tests alone
# The environment's CUDA_LIBRARIES names the folders of libcublasLt.so and libnccl.so, separated by colons, where neither the
# loader nor a search of /usr and /opt finds them.
#
# The tables are written anew after each step, so that they are there when somebody ends it. Exit code 0 if nothing failed,
# whether goals (goals.txt) were met or not: what was not run, or was cut off when time was up, the table tells. 2 where there
# is no GPU.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
out=results
seconds=300
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
# Processes that share a program's tests, which wait for the CPU more than for the GPU.
shards=$(nproc)
[ "$shards" -le 6 ] || shards=6
readonly shards

rows=()    # "what|result|figure|goal|floor"
failed=0
# record WHAT RESULT FIGURE [GOAL FLOOR]
record() {
  [ "$2" != FAIL ] || failed=1
  rows+=("$1|$2|$3|${4:--}|${5:--}")
  printf '%-56s %-8s %s\n' "$1" "$2" "$3"
  write_tables
}
write_tables() {
  printf '%s\n' "$title" "${rows[@]}" | awk -F'|' -v json="$out/table.json" '
    function line(a, b, c, d, e) { printf "%-56s %-8s %-34s %-10s %s\n", a, b, c, d, e }
    function quoted(text) { gsub(/["\\]/, "\\\\&", text); return "\"" text "\"" }
    NR == 1 {
      print
      line("what", "result", "figure", "goal", "floor")
      printf "{\"title\": %s, \"rows\": [", quoted($0) >json
      next
    }
    {
      line($1, $2, $3, $4, $5)
      printf "%s\n {\"what\": %s, \"result\": %s, \"figure\": %s, \"goal\": %s, \"floor\": %s}", (NR > 2 ? "," : ""),
        quoted($1), quoted($2), quoted($3), quoted($4), quoted($5) >json
    }
    END { print "\n]}" >json }' >"$out/table.txt"
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
    [ -e "$(output_of "$1")" ] || { record "$what" "not run" "not timed" "$goal" "$floor"; continue; }
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

# What tests say last: "PASSED 198 tests", of all processes together; nothing where it was no test.
tests_in() {
  awk '/^\[  PASSED  \] [0-9]/ { passed += $4; any = 1 }
    /^\[  FAILED  \] [0-9]+ tests?,/ { failed += $4 }
    END { if (any || failed) printf "PASSED %d tests%s", passed, failed ? " FAILED " failed " tests" : "" }' "$1"
}
left() { echo $((seconds - 5 - SECONDS)); }
# step NAME LIMIT COMMAND...: its output goes to a file, which there is only where it was run.
step() {
  local name=$1 limit=$2 file begin=$SECONDS code=0 result=pass figure left
  shift 2
  left=$(left)
  file=$(output_of "$name")
  rm -f "$file" "$file".part*
  if [ "$left" -lt 5 ]; then
    record "$name" "not run" "no time left"
    hold_to_goals "$name"
    return 1
  fi
  timeout -k 3 $((limit < left ? limit : left)) "$@" >"$file" 2>&1 || code=$?
  ! compgen -G "$file.part*" >/dev/null || { cat "$file".part* >>"$file" && rm "$file".part*; }
  figure=$(tests_in "$file")
  # Tests that find no device (77), or none to run, prove nothing: there is a GPU.
  if [ "$code" -ne 0 ] || [ "$figure" = "PASSED 0 tests" ]; then result=FAIL; fi
  if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
    figure="not done after $((SECONDS - begin)) s"
    [ "$limit" -le "$left" ] || result="cut"
  fi
  record "$name" "$result" "${figure:-exit code $code}, $((SECONDS - begin)) s"
  [ "$result" = pass ] || tail -n 15 "$file"
  hold_to_goals "$name"
  [ "$result" = pass ]
}
# in_shards FILE COMMAND...: each process's output goes to a part of the step's file.
# shellcheck disable=SC2317  # timeout runs it, in a process of its own
in_shards() {
  local i process code=0 processes=()
  for ((i = 0; i < GTEST_TOTAL_SHARDS; ++i)); do
    GTEST_SHARD_INDEX=$i "${@:2}" >"$1.part$i" 2>&1 &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || code=$?; done
  return "$code"
}
export -f in_shards
tests() {
  GTEST_TOTAL_SHARDS=$shards step "$1" "$2" bash -c 'in_shards "$@"' in_shards "$(output_of "$1")" "${@:3}"
}
bench() { step "$1" "$2" bin/engine_bench --device=cuda --benchmark_min_time=0.2 "${@:3}"; }
# What ran when, launch by launch, in a file of its own: start, duration and more, in microseconds, by start.
timeline() {
  rm -f "$(output_of "launches of $1")"
  CUDA_INJECTION64_PATH=$PWD/lib/libcuda_timeline.so ROPEWAY_TIMELINE=$(output_of "launches of $1") \
    step "timeline of $1" 30 bin/engine_bench --device=cuda --benchmark_min_time=0.1 "${@:2}"
}
# How long nothing ran, from the first step of a timeline of decode steps to its last one: each takes tokens once.
record_idle() {
  local launches
  launches=$(output_of "launches of $1")
  rm -f "$(output_of "idle of $1")"
  [ ! -s "$launches" ] || awk '
    steps > 0 && $1 > end { idle += $1 - end }
    $1 + $2 > end { end = $1 + $2 }
    / TakeTokens/ { if (steps++ == 0) first = $1; last = $1; told = idle }
    END { if (steps > 1) printf "idle share %.2f%%\nidle step %.2f us, of %d\n", 100 * told / (last - first),
      told / (steps - 1), steps - 1 }' "$launches" >"$(output_of "idle of $1")"
  hold_to_goals "idle of $1"
}

# record_check STEP WHAT TAKEN REFUSED: whether the step's log has a line that begins with TAKEN, or one with REFUSED and why.
record_check() {
  local file why what="$2, ${1##* }"
  file=$(output_of "$1")
  [ -e "$file" ] || return
  why=$(sed -n "s/^$4//p" "$file" | head -n 1)
  if [ -n "$why" ]; then
    record "$what" FAIL "$why"
  elif grep -q "^$3" "$file"; then
    record "$what" pass "checked at load"
  else
    record "$what" missing "the log says nothing of it"
  fi
}
# What a server does with kernels that it cannot trust, as each type's log says.
record_products() {
  record_check "$1" "products by wgmma: bytes of mma.sync" 'products: wgmma' 'products: no wgmma, since '
}
record_attention_and_copies() {
  record_check "$1" "attention by wgmma: bytes of mma.sync" \
    'attention of prompts: wgmma' 'attention of prompts: mma.sync, since '
  record_check "$1" "bulk copies: bytes of cp.async" \
    'products for few tokens: bulk copies' 'products for few tokens: cp.async, since '
}
record_fp8() {
  record_check "$1" "prompts by wgmma: bytes of mma.sync" \
    'products of prompts by fp8: wgmma' 'products of prompts by fp8: mma.sync, since '
}
# Likewise with algorithms of cuBLASLt, whose matrices are "W [4096, 4096] transposed"; those of our own choices are not.
record_library() {
  local lines
  [ -e "$(output_of "$1")" ] || return
  lines=$(grep -E '^W \[[0-9]+, [0-9]+\] transposed' "$(output_of "$1")")
  record "how cuBLASLt multiplies" figure "$(grep -o '[0-9] refused' <<<"$lines" | wc -l) classes with algorithms refused, \
$(grep -o 'our own kernel' <<<"$lines" | wc -l) without any, of $(grep -o 'up to' <<<"$lines" | wc -l)"
}
# same_answers WHAT STEP...: by processes that have the same weights.
same_answers() {
  local what=$1 hashes runs
  shift
  hashes=$(for name in "$@"; do grep -asoE '^answers: .*hash [0-9a-f]+' "$(output_of "$name")" | awk '{print $NF}'; done)
  runs=$(wc -w <<<"$hashes")
  if [ "$(sort -u <<<"$hashes" | wc -l)" -ne 1 ]; then
    record "$what" FAIL "$runs runs, hashes $(xargs echo <<<"$hashes")"
  elif [ "$runs" -ne $# ]; then
    record "$what" "not run" "$runs of $# runs"
  else
    record "$what" pass "$runs runs, hash $(head -n 1 <<<"$hashes")"
  fi
}
# Of operations that were timed by several kernels: which one was fastest, where a threshold chooses among them.
write_choices() {
  [ -e "$(output_of "operations of 8b")" ] || return
  awk '
    { $1 = $1; sub(/^by wgmma /, "wgmma ") }
    NF < 6 { next }
    { time = $(NF - 3); key = $1; variant = ""; for (i = 2; i <= NF - 4; ++i) key = key " " $i }
    match(key, / tiles of [0-9]+/) { variant = substr(key, RSTART + 1, RLENGTH - 1); sub(/ tiles of [0-9]+/, "", key) }
    /^(streamed|bulk|wgmma|library|packed|unpacked|apart|fused|normed) / { variant = $1; sub(/^[^ ]+ /, "", key) }
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
  timeout "$(left)" bin/ropeway bench --concurrency "$1" --requests $(($1 * 4)) --prompt_tokens 128 --output_tokens 128 \
    --vocab_size 49152 --json |
    sed -n 's/.*"output_throughput": *\([0-9.]*\).*/\1/p' | head -n 1
}
measure_served() {
  local server streams figure log=$out/server.txt
  [ "$(left)" -ge 25 ] || { record "served, SmolLM2" "not run" "no time left"; return; }
  bin/ropeway_server --device=cuda --model=models/SmolLM2-135M-Instruct.Q4_1.gguf --metrics_listen= >"$log" 2>&1 &
  server=$!
  if bin/ropeway health --wait "$(left)" >/dev/null 2>&1; then
    for streams in 1 8 64 128; do
      if [ "$(left)" -lt 15 ]; then
        record "served, SmolLM2, $streams streams" "not run" "no time left"
      elif figure=$(served "$streams") && [ -n "$figure" ]; then
        record "served, SmolLM2, $streams streams" figure "$figure tokens/s"
      else
        record "served, SmolLM2, $streams streams" FAIL "the load ended in an error"
      fi
    done
  else
    record "served, SmolLM2" FAIL "the server does not start: $log"
  fi
  stop_server "$server"
}
stop_server() {
  kill "$1" 2>/dev/null
  timeout 10 tail --pid="$1" -f /dev/null || kill -9 "$1"
}

# A server's start, by a file in memory.
measure_start() {
  local file=/dev/shm/ropeway-check-$$.gguf free
  free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
  if ! command -v python3 >/dev/null || [ "${free:-0}" -lt $((17 << 20)) ]; then
    record "start of 8b from a file" skipped "no python3, or no 17 GiB in /dev/shm"
    return
  fi
  rm -f "$(output_of "start of 8b from a file")"
  # shellcheck disable=SC2064  # of now
  trap "rm -f '$file'" EXIT
  if step "a random file of 8b" 60 python3 tools/random_gguf.py "$shape" "$file" --type BF16; then
    time_start "$file" "$out/start.txt"
  fi
  rm -f "$file"
  hold_to_goals "start of 8b from a file"
}
# time_start FILE LOG: from exec to the line that says it serves.
time_start() {
  local server begin now
  begin=$(date +%s%N)
  bin/ropeway_server --device=cuda --model="$1" --listen=127.0.0.1:0 --metrics_listen= >"$2" 2>&1 &
  server=$!
  until grep -q ' info serving ' "$2" || [ "$(left)" -le 0 ] || ! kill -0 "$server" 2>/dev/null; do sleep 0.01; done
  now=$(date +%s%N)
  if grep -q ' info serving ' "$2"; then
    echo "serving $(((now - begin) / 1000000)) ms" >"$(output_of "start of 8b from a file")"
  else
    record "start of 8b from a file" FAIL "the server does not start: $2"
  fi
  stop_server "$server"
}
# All kernels once more, by one tool of compute-sanitizer: slowly, in the time that is left.
sanitize() {
  tests "$1 of all kernels" 600 compute-sanitizer --tool "$1" --error-exitcode 1 bin/kernels_cuda_device_test "${@:2}"
}
measure_8b() {
  local one='--benchmark_filter=Decode/streams:(1|8|64)/'
  bench "steps of 8b in BF16" 60 --shape="$shape" --answers=40
  record_products "steps of 8b in BF16"
  record_attention_and_copies "steps of 8b in BF16"
  record_library "steps of 8b in BF16"
  bench "BF16 with wgmma off" 40 --shape="$shape" --answers=40 --wgmma=off --benchmark_filter=Prefill
  bench "BF16 with bulk copies off" 40 --shape="$shape" --answers=40 --bulk_copies=off "$one"
  bench "BF16 with one step in flight" 40 --shape="$shape" --answers=40 --steps_in_flight=1 "$one"
  same_answers "the same answers by all ways, BF16" \
    "steps of 8b in BF16" "BF16 with wgmma off" "BF16 with bulk copies off" "BF16 with one step in flight"
  bench "steps of 8b in Q4_K" 60 --shape="$shape" --type=Q4_K --answers=40
  record_products "steps of 8b in Q4_K"
  bench "Q4_K with wgmma off" 40 --shape="$shape" --type=Q4_K --answers=40 --wgmma=off "$one"
  same_answers "the same answers by all ways, Q4_K" "steps of 8b in Q4_K" "Q4_K with wgmma off"
  bench "steps of 8b in Q8_0" 60 --shape="$shape" --type=Q8_0 --answers=40
  record_products "steps of 8b in Q8_0"
  bench "steps of 8b in fp8" 60 --shape="$shape" --weights=fp8 --answers=40
  record_products "steps of 8b in fp8"
  record_fp8 "steps of 8b in fp8"
  step "operations of 8b" 120 bin/cuda_bench --shape="$shape" --json="$out/operations_8b.json"
  write_choices
}
measure_smollm2() {
  local shape=${shape/8b/smollm2}
  bench "steps of smollm2" 60 --shape="$shape" --type=F16 --answers=40
  record_products "steps of smollm2"
  record_attention_and_copies "steps of smollm2"
  [ "$has_model" -eq 0 ] || measure_served
}
measure_idle() {
  timeline "8b, 1 stream" --shape="$shape" '--benchmark_filter=Decode/streams:1/'
  record_idle "8b, 1 stream"
  timeline "smollm2, 1 stream" --shape="${shape/8b/smollm2}" --type=F16 '--benchmark_filter=Decode/streams:1/'
  record_idle "smollm2, 1 stream"
  timeline "8b, 64 streams" --shape="$shape" '--benchmark_filter=Decode/streams:64/'
  record_idle "8b, 64 streams"
  timeline "8b, prompt" --shape="$shape" --benchmark_filter=Prefill/2048
}

echo "$title"
tests "kernels on the device" 90 bin/kernels_cuda_device_test
filter='*device_*'
[ "$has_model" -eq 1 ] || filter+=':-*GoldenPrompts*'
tests "engine: golden models, same bytes in batches" 90 bin/executors_test --gtest_filter="$filter"
[ "$has_model" -eq 1 ] || record "engine: golden prompts of SmolLM2" skipped "$model is not there"
if [ "$quick" -eq 0 ]; then
  measure_8b
  measure_smollm2
  measure_idle
  measure_start
  if command -v compute-sanitizer >/dev/null; then
    seconds=$(((seconds + SECONDS) / 2)) sanitize memcheck
    # The library's kernels are not ours.
    sanitize racecheck --gtest_filter='-*Gemm*'
  else
    record "compute-sanitizer" skipped "is not there"
  fi
  step "operations of smollm2" 90 bin/cuda_bench --shape="${shape/8b/smollm2}" --json="$out/operations_smollm2.json"
fi
echo
cat "$out/table.txt"
exit "$failed"

#!/usr/bin/env bash
# From a bare Debian 12 to an answer: installs, builds, fetches a small model, serves it on this machine and asks it.
# Then it keeps serving until Ctrl-C.
#
# Usage: deploy/quickstart.sh [--once] [--port N] [--metrics_port N] [--prompt TEXT]
#   --once            end after the answer; exit code 0 only if one came
#   --port N          where gRPC listens on 127.0.0.1 (default 50051, or a free port where that is taken)
#   --metrics_port N  where Prometheus metrics are (default 9464, or a free port)
#   --prompt TEXT     what to ask
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "quickstart.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' deploy/quickstart.sh; }

once=false
port=
metrics_port=
prompt="What is the capital of France?"
# The system message of the model's own template, and many others, make so small a model answer that question in French.
system="You answer questions in one sentence."
while [ $# -gt 0 ]; do
  case "$1" in
    --once) once=true ;;
    --port) port=${2:?quickstart.sh: --port takes a number} && shift ;;
    --metrics_port) metrics_port=${2:?quickstart.sh: --metrics_port takes a number} && shift ;;
    --prompt) prompt=${2:?quickstart.sh: --prompt takes a text} && shift ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && die "unknown argument '$1'" ;;
  esac
  shift
done

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# check_port FLAG VALUE: that a port somebody asked for can be had.
check_port() {
  [ -n "$2" ] || return 0
  [[ $2 =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || die "$1 must be in [1, 65535], is '$2'"
  ! taken "$2" || die "port $2 is in use: give another with $1"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
check_port --port "$port"
check_port --metrics_port "$metrics_port"

deploy/install_packages.sh build
[ -n "$port" ] || port=$(taken 50051 && free_port || echo 50051)
[ -n "$metrics_port" ] || metrics_port=$(taken 9464 && free_port || echo 9464)
if [ ! -x build/release/bin/ropeway_server ]; then
  echo "building (several minutes the first time; build/release/build.log tells more)"
fi
deploy/build.sh release ropeway_server ropeway
deploy/fetch_model.sh smollm2

log=build/release/quickstart_$port.log
answer=$(mktemp)
server=
stop() {
  trap - EXIT INT TERM HUP
  if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then wait "$server" || true; fi
  rm -f "$answer"
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM HUP

build/release/bin/ropeway_server --model "${ROPEWAY_MODELS:-models}/SmolLM2-135M-Instruct.Q4_1.gguf" \
  --listen "127.0.0.1:$port" --metrics_listen "127.0.0.1:$metrics_port" >"$log" 2>&1 &
server=$!
export ROPEWAY_SERVER=127.0.0.1:$port
for ((second = 0; ; ++second)); do
  ! build/release/bin/ropeway health --wait 1 >/dev/null 2>&1 || break
  kill -0 "$server" 2>/dev/null || { server= && tail -n 20 "$log" >&2 && die "the server ended; its log is $log"; }
  [ "$second" -lt 120 ] || { tail -n 20 "$log" >&2 && die "the server does not get ready; its log is $log"; }
done

echo "> $prompt"
build/release/bin/ropeway generate --chat "$prompt" --system "$system" --max_tokens 128 --temperature 0 | tee "$answer" ||
  die "no answer; the server's log is $log"
grep -q '[^[:space:]]' "$answer" || die "the answer is empty; the server's log is $log"

! "$once" || exit 0
cat <<END

gRPC     127.0.0.1:$port        build/release/bin/ropeway chat$([ "$port" = 50051 ] || echo " --server 127.0.0.1:$port")
metrics  http://127.0.0.1:$metrics_port/metrics
log      $log
Ctrl-C ends the server.
END
wait "$server" || die "the server ended; its log is $log"

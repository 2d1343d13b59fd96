#!/usr/bin/env bash
# Builds the Dockerfile and runs the image as compose.yaml does: without root, capabilities or a writable file system.
# Needs root, network, podman, runc and mmdebstrap, and takes minutes, so it is run by hand; ctest does not run it.
#
# Usage: tests/deploy/container_test.sh [BASE.tar]    a root file system of Debian 12 to import as debian:bookworm-slim;
#                                                     without it, one is made with mmdebstrap
set -euo pipefail
cd "$(dirname "$0")/../.."

MODEL=SmolLM2-135M-Instruct.Q4_1.gguf
MAX_IMAGE_MB=200
die() { echo "container_test.sh: $*" >&2; exit 1; }
for tool in podman runc mmdebstrap; do
  command -v "$tool" >/dev/null || die "needs $tool: apt-get install podman runc mmdebstrap"
done

# A store of its own: nothing is shared with other containers of this machine.
work=$(mktemp -d)
podman() {
  command podman --root "$work/store" --runroot "$work/run" --storage-driver overlay --cgroup-manager cgroupfs \
    --runtime runc "$@"
}
cleanup() {
  podman rm --force --time 0 ropeway >/dev/null 2>&1 || true
  umount "$work/store/overlay" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

base=${1:-$work/base.tar}
[ -s "$base" ] || mmdebstrap --quiet --mode=root --variant=apt --format=tar --include=usr-is-merged \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$base"
podman import --quiet "$base" docker.io/library/debian:bookworm-slim >/dev/null
podman build --quiet --isolation chroot --pull=never --layers=false --format docker --tag localhost/ropeway . \
  >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log" >&2; die "the image does not build"; }

inspect() { podman image inspect localhost/ropeway --format "$1"; }
[ "$(inspect '{{.Config.User}}')" = 10001:10001 ] || die "the image runs as $(inspect '{{.Config.User}}')"
size=$(($(inspect '{{.Size}}') / 1000000))
[ "$size" -le "$MAX_IMAGE_MB" ] || die "the image has $size MB; the limit is $MAX_IMAGE_MB"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
metrics_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
deploy/fetch_model.sh smollm2
podman run --detach --name ropeway --network host --read-only --cap-drop all --security-opt no-new-privileges \
  --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --volume "$(realpath models):/models:ro" localhost/ropeway \
  --model="/models/$MODEL" --listen="127.0.0.1:$port" --metrics_listen="127.0.0.1:$metrics_port" >/dev/null
ropeway() { podman exec --env "ROPEWAY_SERVER=127.0.0.1:$port" ropeway ropeway "$@"; }
ropeway health --wait 60 >/dev/null || { podman logs ropeway >&2; die "the server does not get ready"; }
answer=$(ropeway generate --chat "What is the capital of France?" --temperature 0 --max_tokens 16)
[[ $answer == *Paris* ]] || die "an odd answer: $answer"
python3 - "$metrics_port" <<'PYTHON' || die "the metrics do not tell of the answer"
import sys, urllib.request
text = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode()
assert any(line.startswith("ropeway_generation_tokens_total") and float(line.split()[-1]) > 0 for line in text.split("\n"))
PYTHON
! podman exec ropeway touch /probe 2>/dev/null || die "the file system is writable"
! podman exec ropeway sh -c 'command -v g++' >/dev/null || die "there is a compiler in the image"
podman stop --time 40 ropeway >/dev/null
code=$(podman inspect ropeway --format '{{.State.ExitCode}}')
[ "$code" = 0 ] || die "SIGTERM ends the server with exit code $code"
echo "the image has $size MB, answers, and ends cleanly"

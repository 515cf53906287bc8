#!/usr/bin/env bash
# Lint, types and tests, in the environment of start.sh.
#   ./test.sh          all tests but `gpu` and `slow`
#   ./test.sh --fast   lint, types and unit tests: no browser, no starter model, no long proofs
#   ./test.sh --slow   all tests (`gpu` ones only where a GPU is)
# Anything else goes to pytest: ./test.sh --fast -k rendering
# All checks run; the exit status is that of the first one that failed.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
# shellcheck source=scripts/environment.sh
. "$here/scripts/environment.sh"
cd "$here"

UNIT="not gpu and not slow and not starter and not browser"

main() {
  local selection="not gpu and not slow" fast=no
  case "${1:-}" in
    --fast) fast=yes && shift ;;
    --slow) selection="$(has_nvidia_gpu || say "not gpu")" && shift ;;
  esac

  prepare_environment requirements.txt requirements-dev.txt
  fetch_tokenizers
  if [ "$fast" = no ]; then
    fetch_starter
    find_or_install_browser || selection="${selection:+$selection and }not browser"
  fi
  say "Set-up took $SECONDS s."

  SECONDS=0
  check format "$python" -m ruff format --check .
  check lint "$python" -m ruff check .
  check types "$python" -m mypy
  # Two side by side, a thread each: on two cores that is faster than two threads, as browsers mostly wait.
  if [ "$fast" = yes ]; then
    check "unit tests" side_by_side --dist worksteal -m "$UNIT and not proof" "$@"
  else
    check "unit tests and proofs" side_by_side --dist worksteal -m "$UNIT" "$@"
    check "starter and browser tests" side_by_side -m "not ($UNIT)${selection:+ and $selection}" "$@"
  fi
  say "Checks and tests took $SECONDS s."
  exit "$first_failure"
}

side_by_side() {
  OMP_NUM_THREADS=1 "$python" -m pytest -n 2 "$@"
}

first_failure=0

check() {
  local status=0
  say "--- $1"
  "${@:2}" || status=$?
  [ "$first_failure" -ne 0 ] || first_failure="$status"
}

fetch_starter() {
  "$python" app.py models starter || refuse "The starter model could not be installed: the lines above say why;" \
    "./test.sh --fast runs the tests that need none."
}

# The real tokenizers of the model families, once; without them the tests that need them are left out, but not in CI.
fetch_tokenizers() {
  "$python" scripts/fetch_tokenizers.py && return
  [ "${CI:-}" != true ] || refuse "The tests' tokenizers could not be fetched: the lines above say why."
  say "The tokenizers above are missing. The tests of those model families are LEFT OUT of this run."
}

# A missing browser fails under CI=true; elsewhere it is said, and its tests are left out.
find_or_install_browser() {
  has_browser && return
  install_browser || true
  has_browser && return
  local advice="No Chromium with Chinese fonts found. Install them (Debian/Ubuntu: sudo apt install chromium\
 fonts-noto-cjk; elsewhere: .venv/bin/python -m playwright install chromium)"
  [ "${CI:-}" != true ] || refuse "$advice; the browser tests may not be left out here."
  say "$advice. The browser tests are LEFT OUT of this run."
  return 1
}

has_browser() {
  [ "$(uname -s)" != Linux ] || [ -n "$(fc-list :lang=zh-cn family 2>/dev/null)" ] || return 1
  command -v chromium >/dev/null || command -v google-chrome >/dev/null || has_playwright_browser
}

has_playwright_browser() {
  "$python" - 2>/dev/null <<'PYTHON'
import pathlib, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not pathlib.Path(playwright.chromium.executable_path).exists())
PYTHON
}

install_browser() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "Installing Chromium and Chinese fonts ..."
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get update --quiet
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
    --no-install-recommends chromium fontconfig fonts-noto-cjk
}

main "$@"

# shellcheck shell=bash
# Makes .venv and keeps it as the requirement files say. Sourced by start.sh and test.sh, which set `here` (the folder
# of the checkout); does nothing by itself. Where something is missing it says so in one sentence with what to do.

: "${here:?set by the script that sources this one}"
venv="$here/.venv"
python="$venv/bin/python"
log="$venv/install.log"

say() { printf '%s\n' "$*"; }

refuse() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Bring .venv to the state of the requirement files named. Takes a few milliseconds when it already is.
prepare_environment() {
  make_environment
  local list
  for list in "$@"; do
    # The copy that is kept of an installed list is complete or absent: pip stopped half-way leaves none.
    cmp -s "$here/$list" "$venv/installed-$list" || install_list "$list"
  done
}

make_environment() {
  is_new_enough "$python" && has_pip && return
  local base
  base="$(find_python)" || refuse "LoRA Workbench needs Python 3.11 or newer and found none: install it" \
    "(Debian/Ubuntu: sudo apt install python3 python3-venv), or name one with PYTHON=/path/to/python ./start.sh"
  "$base" -c 'import ensurepip, venv' 2>/dev/null || refuse "Python's venv module is missing: install it" \
    "(Debian/Ubuntu: sudo apt install python$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv)" \
    "and start again."
  need_free_gb "$(needed_gb)"
  say "Making .venv with $("$base" --version) ..."
  "$base" -m venv --clear "$venv" || refuse "The environment $venv could not be made: the lines above say why;" \
    "check that this folder can be written, then start again."
}

# It is gone where the system's Python was replaced by a newer one under an environment.
has_pip() { "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("pip"))' >/dev/null 2>&1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# 3.11 first: it is the version that the tests run on.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python; do
    if is_new_enough "$candidate"; then
      say "$candidate"
      return
    fi
    [ "$candidate" != "${PYTHON:-}" ] || return 1
  done
  return 1
}

install_list() {
  local list="$1"
  rm -f "$venv/installed-$list" "$log"
  if [ "$list" = requirements.txt ]; then
    say "Installing the packages of $list: some minutes, the first time."
    if wants_cpu_torch; then install_cpu_torch; fi
  else
    say "Installing the packages of $list ..."
  fi
  pip_install --requirement "$here/$list" || explain_failure
  cp "$here/$list" "$venv/installed-$list"
}

# pip's downloads wait in TMPDIR until all are there: beside .venv, as /tmp is often small.
pip_install() {
  local status=0
  mkdir -p "$venv/tmp"
  TMPDIR="$venv/tmp" "$python" -m pip install --disable-pip-version-check --log "$log" "$@" || status=$?
  rm -rf "$venv/tmp"
  return "$status"
}

# On Linux the standard build of torch brings several GB of CUDA packages that only an NVIDIA GPU uses. A torch
# of the pinned version that is in .venv already, whatever its build, stays.
wants_cpu_torch() {
  [ "$(uname -s)" = Linux ] && ! has_nvidia_gpu && [ "$(torch_version)" != "$(torch_pin)" ]
}

has_nvidia_gpu() { nvidia-smi -L >/dev/null 2>&1; }

torch_pin() { sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$here/requirements.txt"; }

torch_version() {
  "$python" -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0])' 2>/dev/null || say none
}

# Where the CPU build is tried: the package index (or folder) that pip is set up with, then PyTorch's own index.
install_cpu_torch() {
  local pin
  pin="$(torch_pin)"
  say "No NVIDIA GPU found: looking for the CPU build of torch $pin."
  if pip_install --no-deps "torch==$pin+cpu" 2>/dev/null; then return; fi
  explain_known_failure
  say "Not in the package index; trying PyTorch's index for CPU builds."
  if pip_install --no-deps --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu \
    "torch==$pin+cpu" 2>/dev/null; then return; fi
  say "No CPU build within reach: installing the standard build, which works too but takes several GB more."
  need_free_gb 12
  rm -f "$log"
}

needed_gb() {
  if has_nvidia_gpu; then say 12; else say 4; fi
}

need_free_gb() {
  local free_mb
  free_mb="$(df -Pk "$here" | awk 'NR == 2 { print int($4 / 1024) }')"
  [ "$free_mb" -ge $(($1 * 1024)) ] || refuse "The disk is too full: $here has $((free_mb / 1024)) GB free and the" \
    "installation needs about $1 GB; free some space, or move this folder to a larger disk, and start again."
}

explain_failure() {
  explain_known_failure
  refuse "Installing the packages failed: the lines above say why ($log has it all); start again when it is mended."
}

explain_known_failure() {
  if grep -qsE 'No space left on device|Disk quota exceeded' "$log"; then
    refuse "The disk became full while packages were installed: free about $(needed_gb) GB and start again."
  fi
  if grep -qsE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|ProtocolError' \
    "$log"; then
    refuse "The package index cannot be reached: check the network (or pip's index and proxy settings) and start" \
      "again; what was fetched is kept."
  fi
}

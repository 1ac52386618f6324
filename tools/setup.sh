#!/usr/bin/env bash
# setup.sh up|test: what this machine needs before kybern runs (up) or its tests do (test). Does nothing twice.
# Says what it does and how long that took. PYTHON names the interpreter; Debian packages are installed only as root.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:?"usage: setup.sh up|test"}
python=${PYTHON:-python3}
venv=.venv

phase() { # phase NAME COMMAND...: run it, say how long it took
  local name=$1 start end; shift
  start=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  printf '  %-44s %5d.%01d s\n' "$name" $(((end - start) / 1000000000)) $(((end - start) / 100000000 % 10))
}

fail() { echo "setup: $1" >&2; echo "  fix: $2" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "Python 3.11 or newer is needed ($python is $("$python" --version 2>&1 || echo missing))" "apt-get install -y python3 python3-venv"

packages() { # the Debian packages whose programs are missing
  local missing=() pair
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  if [[ $(id -u) != 0 || ! -e /etc/debian_version ]]; then
    echo "setup: without ${missing[*]} some things cannot run; install with: apt-get install -y ${missing[*]}" >&2
    return
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

environment() {
  [[ -x $venv/bin/python ]] || "$python" -m venv "$venv" ||
    fail "python3 cannot make virtual environments" "apt-get install -y python3-venv"
}

dependencies() { # by hash, from the lock file; again only when that changed
  local lock=$1 stamp
  stamp=$venv/installed-$(cat "$lock" pyproject.toml | sha256sum | cut -c1-16)-$(basename "$lock")
  [[ -e $stamp ]] && return
  "$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$lock"
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  "$venv/bin/python" -m compileall -q src # so that the first start is as fast as the next
  touch "$stamp"
}

case $wanted in
  up)
    phase "Debian packages" packages nft=nftables
    phase "virtual environment" environment
    phase "dependencies" dependencies requirements.lock
    ;;
  test)
    phase "Debian packages" packages nft=nftables busybox=busybox-static kubectl=kubernetes-client wrk=wrk curl=curl ip=iproute2 \
      skopeo=skopeo runc=runc crun=crun runsc=runsc newuidmap=uidmap
    phase "virtual environment" environment
    phase "dependencies" dependencies requirements-dev.lock
    ;;
  *) fail "unknown set-up '$wanted'" "setup.sh up|test" ;;
esac

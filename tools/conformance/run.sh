#!/usr/bin/env bash
# run.sh [FOCUS]: upstream's own conformance suite against a cluster of two nodes started for it, on Debian, as root.
#
# Everything comes from Debian: the source package of kubernetes (the suite, and the programs its pods run), Go, and what is
# in the images. The first run builds for half an hour; what it made stays in .kybern/conformance. Each result is printed as
# it comes, the logs are in .kybern/conformance/report.
#
# FOCUS is a regular expression of test names (default: all of conformance), SKIP one of those to leave out.
# CONTROL=upstream has upstream's own scheduler and controllers lead in the place of ours.
set -euo pipefail
cd "$(dirname "$0")/../.."
focus=${1:-'\[Conformance\]'}
here=$PWD place=$PWD/.kybern/conformance
export KUBECONFIG=$place/kubeconfig
kybern=$here/.venv/bin/kybern
cluster=(--data-dir "$place/cluster")
control=${CONTROL:-kybern}
port=16443

declare -A sources_of=(
  [e2e.test]=test/e2e
  [ginkgo]=vendor/github.com/onsi/ginkgo/ginkgo
  [agnhost]=test/images/agnhost
  [resource-consumer]=test/images/resource-consumer
  [regression-issue-74839]=test/images/regression-issue-74839
  [nonewprivs]=test/images/nonewprivs
  [sample-apiserver]=vendor/k8s.io/sample-apiserver
)
[[ $control == kybern ]] ||
  sources_of+=([kube-scheduler]=cmd/kube-scheduler [kube-controller-manager]=cmd/kube-controller-manager)

[[ $(id -u) == 0 && -e /etc/debian_version ]] || { echo "conformance: this needs Debian, and root" >&2; exit 1; }
[[ $control == kybern || $control == upstream ]] || { echo "conformance: CONTROL is kybern or upstream" >&2; exit 1; }
mkdir -p "$place/bin" "$place/report"

packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go dpkg-dev busybox-static \
    bind9-dnsutils curl wget netcat-openbsd iproute2 >/dev/null
  (cd "$place" && mkdir -p packages && cd packages && apt-get -o APT::Sandbox::User=root download -qq kubernetes-client etcd-server &&
    for package in *.deb; do dpkg -x "$package" ../programs; done)
}

sources() { # the source package, from wherever this machine has its packages from
  local lists=$place/lists options
  mkdir -p "$lists/partial"
  # shellcheck disable=SC2016
  apt-get indextargets --format 'deb-src $(SITE) $(RELEASE) main' 'Created-By: Packages' | sort -u >"$place/sources.list"
  options=(-o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$lists" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update -qq
  (cd "$place" && apt-get "${options[@]}" source -qq --download-only kubernetes)
  rm -rf "$place/kubernetes"
  mkdir "$place/kubernetes"
  tar -xf "$place"/kubernetes_*.orig.tar.* -C "$place/kubernetes" --strip-components 1
}

compile() { # compile PROGRAM: anew only when it is missing
  local package=k8s.io/kubernetes/${sources_of[$1]} how=(build)
  [[ -x $place/bin/$1 ]] && return
  [[ $package == */test/e2e ]] && how=(test -c)
  echo "conformance: building $1"
  go "${how[@]}" -o "$place/bin/$1" "$package"
}

generated() { # what upstream's build makes of files before it compiles
  local data=(-nometadata -pkg generated -ignore .jpg -ignore .png -ignore .md -ignore 'BUILD(\.bazel)?')
  [[ -e test/e2e/generated/bindata.go ]] && return
  go build -o "$place/go-bindata" k8s.io/kubernetes/vendor/github.com/go-bindata/go-bindata/go-bindata
  "$place/go-bindata" "${data[@]}" -nocompress -o staging/src/k8s.io/kubectl/pkg/generated/bindata.go translations/...
  "$place/go-bindata" "${data[@]}" -o test/e2e/generated/bindata.go test/conformance/testdata/... \
    test/e2e/testing-manifests/... test/e2e_node/testing-manifests/... test/images/... test/fixtures/...
}

programs() (
  export GOPATH=$place/go GOCACHE=$place/cache GO111MODULE=off CGO_ENABLED=0
  mkdir -p "$GOPATH/src/k8s.io"
  ln -sfn "$place/kubernetes" "$GOPATH/src/k8s.io/kubernetes"
  cd "$GOPATH/src/k8s.io/kubernetes"
  generated
  for program in "${!sources_of[@]}"; do compile "$program"; done
)

[[ -x $place/programs/usr/bin/kubectl && -x $(command -v go) ]] || packages
[[ -e $place/kubernetes/vendor ]] || sources
programs

others=()
finish() {
  [[ ${#others[@]} -eq 0 ]] || kill "${others[@]}" 2>/dev/null || true
  "$kybern" reset "${cluster[@]}"
}
trap finish EXIT
"$kybern" up "${cluster[@]}" --port $port --nodes 2 --node-name conformance --extension tools/conformance/legacy_tokens.py
.venv/bin/python tools/conformance/images.py "$place" | while read -r context tags; do
  # shellcheck disable=SC2086
  "$kybern" image build "${cluster[@]}" "$context" $tags </dev/null >/dev/null 2>&1 || { echo "conformance: $tags cannot be built" >&2; exit 1; }
done
[[ $control == kybern ]] || . tools/conformance/upstream.sh

suite() { # suite NAME FOCUS SKIP PROCESSES
  local log=$place/report/$1/log.txt
  mkdir -p "$place/report/$1"
  "$place/bin/ginkgo" -nodes="$4" -noColor -focus="$2" -skip="$3" "$place/bin/e2e.test" -- --kubeconfig "$KUBECONFIG" \
    --kubectl-path "$place/programs/usr/bin/kubectl" --provider=skeleton --num-nodes=2 --disable-log-dump \
    --dump-logs-on-failure=false --report-dir="$place/report/$1" 2>&1 </dev/null | tee "$log" |
    sed -un 's/.*{"msg":"\(PASSED\|FAILED\) \([^"]*\)".*/  \1 \2/p' || true
}
suite together "$focus" "\[Serial\]|\[Disruptive\]${SKIP:+|$SKIP}" 4
suite alone "$focus.*(\[Serial\]|\[Disruptive\])|(\[Serial\]|\[Disruptive\]).*$focus" "${SKIP:-^\$}" 1
.venv/bin/python tools/conformance/results.py "$place"/report/{together,alone}/log.txt

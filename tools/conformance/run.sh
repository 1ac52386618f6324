#!/usr/bin/env bash
# run.sh [FOCUS]: upstream's own conformance suite against a cluster of two nodes started for it, on Debian, as root.
#
# Everything comes from Debian: the source package of kubernetes (the suite, and the programs its pods run), Go, and what is
# in the images. The first run builds for some minutes; what it made stays in .kybern/conformance. The result is printed,
# the logs are in .kybern/conformance/report. FOCUS is a regular expression of test names (default: all of conformance).
set -euo pipefail
cd "$(dirname "$0")/../.."
focus=${1:-'\[Conformance\]'}
here=$PWD place=$PWD/.kybern/conformance
export KUBECONFIG=$place/kubeconfig
kybern=$here/.venv/bin/kybern

[[ $(id -u) == 0 && -e /etc/debian_version ]] || { echo "conformance: this needs Debian, and root" >&2; exit 1; }
mkdir -p "$place/bin" "$place/report"

packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go dpkg-dev busybox-static \
    bind9-dnsutils curl netcat-openbsd iproute2 >/dev/null
  (cd "$place" && mkdir -p packages && cd packages && apt-get download -qq kubernetes-client etcd-server &&
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

programs() {
  export GOPATH=$place/go GOCACHE=$place/cache GO111MODULE=off CGO_ENABLED=0
  mkdir -p "$GOPATH/src/k8s.io"
  ln -sfn "$place/kubernetes" "$GOPATH/src/k8s.io/kubernetes"
  cd "$GOPATH/src/k8s.io/kubernetes"
  local vendored=k8s.io/kubernetes/vendor data=(-nometadata -pkg generated -ignore .jpg -ignore .png -ignore .md -ignore 'BUILD(\.bazel)?')
  go build -o "$place/bin/go-bindata" $vendored/github.com/go-bindata/go-bindata/go-bindata
  "$place/bin/go-bindata" "${data[@]}" -o test/e2e/generated/bindata.go test/conformance/testdata/... test/e2e/testing-manifests/... \
    test/e2e_node/testing-manifests/... test/images/... test/fixtures/...
  "$place/bin/go-bindata" "${data[@]}" -nocompress -o staging/src/k8s.io/kubectl/pkg/generated/bindata.go translations/...
  go build -o "$place/bin/ginkgo" $vendored/github.com/onsi/ginkgo/ginkgo
  go build -o "$place/bin/agnhost" ./test/images/agnhost
  go build -o "$place/bin/resource-consumer" ./test/images/resource-consumer
  go build -o "$place/bin/regression-issue-74839" ./test/images/regression-issue-74839
  go build -o "$place/bin/nonewprivs" ./test/images/nonewprivs
  go build -o "$place/bin/sample-apiserver" $vendored/k8s.io/sample-apiserver
  go test -c -o "$place/bin/e2e.test" k8s.io/kubernetes/test/e2e
  cd "$here"
}

if [[ ! -x $place/bin/e2e.test ]]; then
  echo "conformance: building upstream's suite in $place"
  packages
  sources
  programs
fi

trap '"$kybern" reset --data-dir "$place/cluster"' EXIT
"$kybern" up --data-dir "$place/cluster" --port 16443 --nodes 2 --node-name conformance --extension tools/conformance/legacy_tokens.py
.venv/bin/python tools/conformance/images.py "$place" | while read -r context tags; do
  "$kybern" image build --data-dir "$place/cluster" "$context" $tags >/dev/null
done

suite() { # suite NAME FOCUS SKIP PROCESSES
  mkdir -p "$place/report/$1"
  "$place/bin/ginkgo" -nodes="$4" -noColor -focus="$2" -skip="$3" "$place/bin/e2e.test" -- --kubeconfig "$KUBECONFIG" \
    --kubectl-path "$place/programs/usr/bin/kubectl" --provider=skeleton --num-nodes=2 --disable-log-dump \
    --dump-logs-on-failure=false --report-dir="$place/report/$1" >"$place/report/$1/log.txt" 2>&1 || true
}
suite together "$focus" '\[Serial\]|\[Disruptive\]' 4
suite alone "$focus.*(\[Serial\]|\[Disruptive\])|(\[Serial\]|\[Disruptive\]).*$focus" '^$' 1
.venv/bin/python tools/conformance/results.py "$place"/report/*/log.txt

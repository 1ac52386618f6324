#!/usr/bin/env bash
# upstream.sh: upstream's scheduler and controllers lead, ours wait for their leases. A part of run.sh, with its names.
#
# 1.20 knows EndpointSlices, CronJobs and PodDisruptionBudgets by versions that are gone: there Services find no pods, so
# this is for FOCUS='\[sig-(apps|scheduling)\].*\[Conformance\]' and the like.

kubectl() { "$place/programs/usr/bin/kubectl" "$@"; }

lead() { # lead PROGRAM ARGUMENTS...: in the background; only its lease is ours to watch
  local program=$1
  "$place/bin/$program" --kubeconfig "$KUBECONFIG" --port 0 --secure-port 0 "${@:2}" >"$place/report/$program.txt" 2>&1 &
  others+=($!)
}

leads() { # leads PROGRAM: whether it is none of ours that holds the lease
  [[ $(kubectl get lease -n kube-system "$1" -o jsonpath='{.spec.holderIdentity}') != conformance_* ]]
}

lead kube-scheduler --feature-gates PodDisruptionBudget=false
lead kube-controller-manager --use-service-account-credentials --service-account-private-key-file "$place/cluster/pki/sa.key" \
  --root-ca-file "$place/cluster/pki/ca.crt" --cluster-signing-cert-file "$place/cluster/pki/ca.crt" \
  --cluster-signing-key-file "$place/cluster/pki/ca.key"

ours=$("$kybern" status "${cluster[@]}" -o json | .venv/bin/python -c 'import json, sys
print(next(each["pid"] for each in json.load(sys.stdin)["programs"] if each["name"] == "control"))')
kill -STOP "$ours" # as if its machine hung: it finds, when it goes on, that others lead
for _ in {1..60}; do
  leads kube-scheduler && leads kube-controller-manager && break
  sleep 1
done
kill -CONT "$ours"
leads kube-scheduler && leads kube-controller-manager || { echo "conformance: upstream's do not lead: $place/report" >&2; exit 1; }

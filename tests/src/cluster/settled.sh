#!/bin/sh -eu
# Waits until all pods are ready, none is on its way out, and both nodes' rules know the addresses behind each service.
pods() { ! kubectl get pods --no-headers 2>/dev/null | grep -qv ' 1/1 *Running'; }
wanted() {
    kubectl get endpoints -o jsonpath='{range .items[*].subsets[*]}{range .addresses[*]}{.ip}{"\n"}{end}{end}' | sort -u
}
rules() {
    addresses=$(wanted)
    for node in node1 node2; do
        held=$($node iptables-save -t nat | sed -n 's/.*-A KUBE-SEP.* --to-destination \(10\.244[0-9.]*\):.*/\1/p' | sort -u)
        [ "$held" = "$addresses" ] || return 1
    done
}
until pods && rules; do sleep 0.2; done

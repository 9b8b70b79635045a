//! A pod that is replaced while it is traced by its name: the one after it is followed too, though its address is another.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use serde_json::Value;
use tests::alone::{alone, bash};

#[test]
fn a_pod_of_the_same_name_is_followed_at_its_new_address() {
    alone(|| {
        let script = r#"
            said() { for n in $(seq 1200); do grep -q -- "$1" "$2" 2> /dev/null && return; sleep 0.05; done
                echo "never said: $1" >&2; cat "$2" >&2; exit 1; }
            mkdir -p /run/root/var/lib/cni/results; cd /run/root
            ip netns add rn-client
            ip -n rn-client link add br0 type bridge
            ip -n rn-client addr add 10.199.7.1/24 dev br0
            ip -n rn-client link set br0 up
            # A pod as a CNI plugin makes it: its namespace, its interface, then the result.
            pod() {
                ip netns add $1
                ip link add eth0 netns $1 type veth peer name $1 netns rn-client
                ip -n rn-client link set $1 master br0 up
                ip -n $1 addr add $2/24 dev eth0
                ip -n $1 link set eth0 up
                cat > var/lib/cni/results/n-$1-eth0 <<RESULT
{"kind":"cniCacheV1","containerId":"$1","ifName":"eth0","networkName":"n",
 "cniArgs":[["K8S_POD_NAMESPACE","rn-shop"],["K8S_POD_NAME","cart-0"]],
 "result":{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/var/run/netns/$1"}],
 "ips":[{"address":"$2/24","interface":0}]}}
RESULT
            }
            pod rn-a 10.199.7.2
            "$TRACER" --host-root /run/root --json pod rn-shop/cart-0 > report.json 2> said.txt & tracer=$!
            said 'tracer: ready' said.txt
            ip netns exec rn-client ping -n -c 2 -i 0.2 10.199.7.2 > /dev/null
            rm var/lib/cni/results/n-rn-a-eth0
            ip netns del rn-a
            pod rn-b 10.199.7.3
            said 'has other addresses now' said.txt
            ip netns exec rn-client ping -n -c 2 -i 0.2 10.199.7.3 > /dev/null
            sleep 1
            kill -INT $tracer
            wait $tracer
            cat report.json
        "#;
        let done = bash(script).unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        let flows = report.get("flows").and_then(Value::as_array).unwrap();
        for address in ["10.199.7.2", "10.199.7.3"] {
            let of_it = |flow: &&Value| flow.to_string().contains(address);
            let flow = flows.iter().find(of_it);
            let verdict = flow.and_then(|flow| flow.pointer("/verdict/outcome"));
            assert_eq!(
                verdict.and_then(Value::as_str),
                Some("delivered"),
                "{address}: {said}\n{report}"
            );
        }
    })
    .unwrap();
}

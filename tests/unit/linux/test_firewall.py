"""Other programs' rules that would cut pods off are found, and ours are not taken for them."""

from ipaddress import ip_network

from kybern.linux.firewall import in_the_way

LISTED = """\
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
}
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy drop;
	}
	chain nat_PREROUTING {
		type nat hook prerouting priority dstnat + 10; policy accept;
	}
}
table ip kybern-1a2b3c-policy {
	chain forward {
		type filter hook forward priority filter - 5; policy drop;
	}
}
"""


def test_base_chains_of_others_that_drop_are_named() -> None:
    assert list(in_the_way(LISTED, "kybern-")) == [
        "the firewall's chain `ip filter FORWARD` drops what it does not know (forward)",
        "the firewall's chain `inet firewalld filter_INPUT` drops what it does not know (input)",
    ]


RULES = """\
table ip mangle {
	chain x {
		ip saddr 10.244.3.0/24 drop
		ip daddr 192.168.0.0/16 drop
		ip daddr != 10.0.0.0/8 reject
		iifname "kyb-1a2b3c" counter packets 3 bytes 180 reject
		ip6 daddr fd00:10:244::/48 drop
		ip daddr 10.96.0.10 accept
	}
}
table ip kybern-1a2b3c {
	chain y {
		ip daddr 10.244.0.0/16 drop
	}
}
"""


def test_rules_of_others_that_drop_the_clusters_packets_are_named_and_no_others() -> None:
    cidrs = [ip_network("10.244.0.0/16"), ip_network("10.96.0.0/16"), ip_network("fd00:10:244::/56")]
    named = [line.split("`")[1] for line in in_the_way(RULES, "kybern-", ("kyb-1a2b3c",), cidrs)]
    assert named == [
        "ip saddr 10.244.3.0/24 drop",
        'iifname "kyb-1a2b3c" counter packets 3 bytes 180 reject',
        "ip6 daddr fd00:10:244::/48 drop",
    ]

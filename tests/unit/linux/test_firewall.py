"""Other programs' rules that would cut pods off are found, and ours are not taken for them."""

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

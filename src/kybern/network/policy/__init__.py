"""NetworkPolicy: what pods may send to each other, as nftables rules on the nodes of both.

Reading order: model (policies and pods as values), rules (values to nftables), enforcing (follows the API, keeps the
kernel's table equal). `verdict` answers for a single packet what the rules would, and why.
"""

"""A scheduler that is slow and simple: every rule for one node at a time, over plain JSON, and nothing of the real one's code.

`fits` gives the names of the nodes where a pod may run, `scores` the sum of all scores for those.
"""

import math
from typing import Any

Json = dict[str, Any]
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
UNITS = {"": 1.0, "m": 0.001, "Mi": 2.0**20, "Gi": 2.0**30}
WEIGHTS = {"taints": 3, "affinity": 2, "spread": 2, "company": 2, "fit": 1, "balance": 1, "images": 1}


class World:
    def __init__(self, nodes: dict[str, Json], there: dict[str, list[Json]], namespaces: dict[str, Json]) -> None:
        self.nodes, self.there, self.namespaces = nodes, there, namespaces

    # --- filters

    def fits(self, pod: Json) -> list[str]:
        rules = (self.cordon, self.name, self.taints, self.selector, self.ports, self.room, self.spread, self.company)
        return sorted(name for name, node in self.nodes.items() if all(rule(pod, node) for rule in rules))

    def cordon(self, pod: Json, node: Json) -> bool:
        taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        return not node["spec"].get("unschedulable") or tolerates(pod, taint)

    def name(self, pod: Json, node: Json) -> bool:
        return pod["spec"].get("nodeName", named(node)) == named(node)

    def taints(self, pod: Json, node: Json) -> bool:
        return all(tolerates(pod, t) for t in node["spec"].get("taints", ()) if t["effect"] != "PreferNoSchedule")

    def selector(self, pod: Json, node: Json) -> bool:
        labels = node["metadata"]["labels"]
        if any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()):
            return False
        affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        return required is None or any(term_holds(term, node) for term in required["nodeSelectorTerms"])

    def ports(self, pod: Json, node: Json) -> bool:
        used = [port for other in self.on(node) for port in host_ports(other)]
        return not any(clash(one, other) for one in host_ports(pod) for other in used)

    def room(self, pod: Json, node: Json) -> bool:
        there = self.on(node)
        if len(there) + 1 > amount(node["status"]["allocatable"]["pods"]):
            return False
        for resource, asked in requests(pod).items():
            free = amount(node["status"]["allocatable"].get(resource, "0")) - self.used(node, resource)
            if asked and asked > free + 1e-9:
                return False
        return True

    def spread(self, pod: Json, node: Json) -> bool:
        constraints = [c for c in constraints_of(pod) if c["whenUnsatisfiable"] == "DoNotSchedule"]
        for constraint in constraints:
            domains: dict[str, int] = {}
            for other in self.nodes.values():
                labels = other["metadata"]["labels"]
                if all(c["topologyKey"] in labels for c in constraints) and self.counts(constraint, pod, other):
                    domain = labels[constraint["topologyKey"]]
                    domains[domain] = domains.get(domain, 0) + self.alike(constraint, pod, other)
            here = node["metadata"]["labels"].get(constraint["topologyKey"])
            if here is None:
                return False
            least = min(domains.values(), default=0) if len(domains) >= constraint.get("minDomains", 1) else 0
            itself = selects(constraint, pod, pod)
            if domains.get(here, 0) + itself - least > constraint["maxSkew"]:
                return False
        return True

    def counts(self, constraint: Json, pod: Json, node: Json) -> bool:
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not self.selector(pod, node):
            return False
        return constraint.get("nodeTaintsPolicy") != "Honor" or self.taints(pod, node)

    def alike(self, constraint: Json, pod: Json, node: Json) -> int:
        same = (o for o in self.on(node) if o["metadata"]["namespace"] == pod["metadata"]["namespace"])
        return sum("deletionTimestamp" not in o["metadata"] and selects(constraint, pod, o) for o in same)

    def company(self, pod: Json, node: Json) -> bool:
        everybody = [(self.nodes[name], o) for name, pods in self.there.items() if name in self.nodes for o in pods]
        for term in required(pod, "podAntiAffinity"):
            if any(together(node, n, term) and self.meant(term, pod, o) for n, o in everybody):
                return False
        for n, o in everybody:
            if any(together(node, n, term) and self.meant(term, o, pod) for term in required(o, "podAntiAffinity")):
                return False
        terms = required(pod, "podAffinity")
        wanted = [(n, o) for n, o in everybody if all(self.meant(term, pod, o) for term in terms)]
        if all(any(together(node, n, term) for n, _ in wanted) for term in terms):
            return True
        alone = not any(together(n, n, term) for n, _ in wanted for term in terms)
        return alone and all(self.meant(term, pod, pod) and together(node, node, term) for term in terms)

    def meant(self, term: Json, by: Json, other: Json) -> bool:
        namespace = other["metadata"]["namespace"]
        names = set(term.get("namespaces", ()))
        chosen = term.get("namespaceSelector")
        if not names and chosen is None:
            names = {by["metadata"]["namespace"]}
        within = namespace in names or (chosen is not None and chosen.items() <= {"matchLabels": {}}.items())
        if chosen is not None and chosen.get("matchLabels"):
            within |= chosen["matchLabels"].items() <= self.namespaces[namespace].items()
        return within and selects(term, by, other)

    # --- scores

    def scores(self, pod: Json, names: list[str]) -> dict[str, int]:
        nodes = [self.nodes[name] for name in names]
        parts = {
            "taints": scaled([self.disliked(pod, n) for n in nodes], reverse=True),
            "affinity": scaled([self.preferred(pod, n) for n in nodes]),
            "company": stretched([self.liked(pod, n) for n in nodes]),
            "spread": self.evenness(pod, nodes),
            "fit": [self.least(pod, n) for n in nodes],
            "balance": [self.balance(pod, n) for n in nodes],
        }
        return {name: sum(WEIGHTS[part] * s[at] for part, s in parts.items()) for at, name in enumerate(names)}

    def disliked(self, pod: Json, node: Json) -> int:
        tolerations = [
            t for t in pod["spec"].get("tolerations", ()) if t.get("effect", "PreferNoSchedule") == "PreferNoSchedule"
        ]
        taints = [t for t in node["spec"].get("taints", ()) if t["effect"] == "PreferNoSchedule"]
        return sum(not tolerates({"spec": {"tolerations": tolerations}}, taint) for taint in taints)

    def preferred(self, pod: Json, node: Json) -> int:
        affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())
        return sum(one["weight"] for one in terms if term_holds(one["preference"], node))

    def liked(self, pod: Json, node: Json) -> int:
        total = 0
        for name, pods in self.there.items():
            for other in pods if name in self.nodes else ():
                n = self.nodes[name]
                for term, weight in weighted(pod):
                    total += weight * (together(node, n, term) and self.meant(term, pod, other))
                for term, weight in [*weighted(other), *((term, 1) for term in required(other, "podAffinity"))]:
                    total += weight * (together(node, n, term) and self.meant(term, other, pod))
        return total

    def evenness(self, pod: Json, nodes: list[Json]) -> list[int]:
        constraints = [c for c in constraints_of(pod) if c["whenUnsatisfiable"] == "ScheduleAnyway"]
        if not constraints:
            return [0] * len(nodes)
        keys = [c["topologyKey"] for c in constraints]
        able = [n for n in nodes if all(key in n["metadata"]["labels"] for key in keys)]
        raw: list[int | None] = []
        for node in nodes:
            if node not in able:
                raw.append(None)
                continue
            total = 0.0
            for constraint in constraints:
                key = constraint["topologyKey"]
                here = node["metadata"]["labels"][key]
                if key == HOST:
                    number, size = self.alike(constraint, pod, node), len(able)
                else:
                    size = len({n["metadata"]["labels"][key] for n in able})
                    number = sum(
                        self.alike(constraint, pod, n)
                        for n in self.nodes.values()
                        if all(k in n["metadata"]["labels"] for k in keys)
                        and n["metadata"]["labels"][key] == here
                        and self.counts(constraint, pod, n)
                    )
                total += number * math.log(size + 2) + constraint["maxSkew"] - 1
            raw.append(math.floor(total + 0.5))
        known = [one for one in raw if one is not None]
        if not known:
            return [0] * len(nodes)
        least, most = min(known), max(known)
        if most == 0:
            return [0 if one is None else 100 for one in raw]
        return [0 if one is None else 100 * (most + least - one) // most for one in raw]

    def least(self, pod: Json, node: Json) -> int:
        shares = []
        for resource in ("cpu", "memory"):
            there = amount(node["status"]["allocatable"][resource])
            used = sum(requests(other, counted=True)[resource] for other in (*self.on(node), pod))
            shares.append(int(max(there - used, 0) * 100 / there + 1e-9))
        return sum(shares) // 2

    def balance(self, pod: Json, node: Json) -> int:
        if not any(requests(pod).get(resource) for resource in ("cpu", "memory")):
            return 0
        shares = []
        for resource in ("cpu", "memory"):
            used = sum(requests(other).get(resource, 0) for other in (*self.on(node), pod))
            shares.append(min(used / amount(node["status"]["allocatable"][resource]), 1.0))
        return int((1 - abs(shares[0] - shares[1]) / 2) * 100 + 1e-9)

    def on(self, node: Json) -> list[Json]:
        return self.there.get(named(node), [])

    def used(self, node: Json, resource: str) -> float:
        return sum(requests(other).get(resource, 0) for other in self.on(node))


def named(node: Json) -> str:
    return str(node["metadata"]["name"])


def amount(text: str) -> float:
    digits = text.rstrip("mMGi")
    return float(digits) * UNITS[text[len(digits) :]]


def tolerates(pod: Json, taint: Json) -> bool:
    return any(
        t.get("effect", taint["effect"]) == taint["effect"]
        and t.get("key", taint["key"]) == taint["key"]
        and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
        for t in pod["spec"].get("tolerations", ())
    )


def term_holds(term: Json, node: Json) -> bool:
    labels = node["metadata"]["labels"]
    asked = [(e, labels.get(e["key"])) for e in term.get("matchExpressions", ())]
    asked += [(e, named(node)) for e in term.get("matchFields", ())]
    return bool(asked) and all(holds(e["operator"], value, e.get("values", [])) for e, value in asked)


def holds(operator: str, value: str | None, values: list[str]) -> bool:
    if operator in ("Gt", "Lt"):
        if value is None or not value.isdigit():
            return False
        return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return {
        "In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None,
    }[operator]  # fmt: skip


def host_ports(pod: Json) -> list[tuple[str, str, int]]:
    return [
        (p.get("hostIP", "0.0.0.0"), p.get("protocol", "TCP"), p["hostPort"])
        for c in pod["spec"]["containers"]
        for p in c.get("ports", ())
        if p.get("hostPort")
    ]


def clash(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))


def requests(pod: Json, *, counted: bool = False) -> dict[str, float]:
    """`counted`: a container that asks for nothing counts for something."""

    def of(container: Json) -> dict[str, float]:
        asked = {name: amount(text) for name, text in container.get("resources", {}).get("requests", {}).items()}
        return {"cpu": 0.1, "memory": 200 * 2.0**20, **asked} if counted else asked

    def plus(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
        return {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}

    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        total = plus(total, of(container))
    sidecars: dict[str, float] = {}
    peak: dict[str, float] = {}
    for container in pod["spec"].get("initContainers", ()):
        if container.get("restartPolicy") == "Always":
            sidecars = plus(sidecars, of(container))
            moment = sidecars
        else:
            moment = plus(sidecars, of(container))
        peak = {name: max(peak.get(name, 0), moment.get(name, 0)) for name in {*peak, *moment}}
    total = plus(total, sidecars)
    return {name: max(total.get(name, 0), peak.get(name, 0)) for name in {*total, *peak}}


def constraints_of(pod: Json) -> list[Json]:
    return list(pod["spec"].get("topologySpreadConstraints", ()))


def required(pod: Json, side: str) -> list[Json]:
    return list(pod["spec"].get("affinity", {}).get(side, {}).get("requiredDuringSchedulingIgnoredDuringExecution", ()))


def weighted(pod: Json) -> list[tuple[Json, int]]:
    found = []
    for side, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        part = pod["spec"].get("affinity", {}).get(side, {})
        for one in part.get("preferredDuringSchedulingIgnoredDuringExecution", ()):
            found.append((one["podAffinityTerm"], sign * one["weight"]))
    return found


def together(one: Json, other: Json, term: Json) -> bool:
    key = term["topologyKey"]
    mine = one["metadata"]["labels"].get(key)
    return mine is not None and mine == other["metadata"]["labels"].get(key)


def selects(of: Json, by: Json, other: Json) -> bool:
    labels, own = other["metadata"]["labels"], by["metadata"]["labels"]
    if of.get("labelSelector") is None or not of["labelSelector"]["matchLabels"].items() <= labels.items():
        return False
    same = all(labels.get(key) == own[key] for key in of.get("matchLabelKeys", ()) if key in own)
    return same and all(labels.get(key) != own[key] for key in of.get("mismatchLabelKeys", ()) if key in own)


def scaled(raw: list[int], *, reverse: bool = False) -> list[int]:
    most = max(raw, default=0)
    if not most:
        return [100 if reverse else 0] * len(raw)
    return [100 - one * 100 // most if reverse else one * 100 // most for one in raw]


def stretched(raw: list[int]) -> list[int]:
    least, most = min(raw, default=0), max(raw, default=0)
    return [100 * (one - least) // (most - least) if most > least else 0 for one in raw]

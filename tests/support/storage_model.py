"""Volumes and devices for one pod and one node at a time, over plain JSON: slow, simple, and nothing of the real rules' code."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

Json = dict[str, Any]
HOST, ZONE, OLD_ZONE = (
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
)
DRIVER, GPU = "disk.example.com", "gpu.example.com"
SMALLEST, LARGEST = 23 * 1024 * 1024, 1000 * 1024 * 1024  # of images that matter


@dataclass
class Storage:
    nodes: dict[str, Json] = field(default_factory=dict)
    there: dict[str, list[Json]] = field(default_factory=dict)
    claims: dict[str, Json] = field(default_factory=dict)
    volumes: dict[str, Json] = field(default_factory=dict)
    classes: dict[str, Json] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    """By node: how many volumes of the driver it can attach."""
    devices: dict[str, list[Json]] = field(default_factory=dict)
    """By node."""
    asked: dict[str, Json] = field(default_factory=dict)
    """Claims for devices."""

    def fits(self, pod: Json) -> list[str]:
        rules = (self.binding, self.zone, self.sole, self.attachable, self.given)
        return sorted(name for name in self.nodes if all(rule(pod, name) for rule in rules))

    def labels(self, node: str) -> Json:
        found: Json = self.nodes[node]["metadata"]["labels"]
        return found

    # --- volumes

    def used_by(self, pod: Json) -> list[Json | None]:
        listed = [v["persistentVolumeClaim"]["claimName"] for v in volumes_of(pod) if "persistentVolumeClaim" in v]
        return [self.claims.get(name) for name in listed]

    def binding(self, pod: Json, node: str) -> bool:
        late = []
        for claim in self.used_by(pod):
            if claim is None:
                return False
            bound = claim["spec"].get("volumeName")
            if bound:
                if bound not in self.volumes or not self.reaches(self.volumes[bound], node):
                    return False
            elif self.classes[claim["spec"]["storageClassName"]].get("volumeBindingMode") != "WaitForFirstConsumer":
                return False
            else:
                late.append(claim)
        promised: set[str] = set()
        for claim in sorted(late, key=lambda one: amount(one["spec"]["resources"]["requests"]["storage"])):
            choice = self.choice(claim, node, promised)
            if choice is not None:
                promised.add(choice)
            elif not self.could_be_made(claim, node):
                return False
        return True

    def reaches(self, volume: Json, node: str) -> bool:
        hosts = volume["spec"].get("nodeAffinity")
        return not hosts or node in hosts["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]

    def choice(self, claim: Json, node: str, promised: set[str]) -> str | None:
        wanted = claim["spec"]
        least = amount(wanted["resources"]["requests"]["storage"])
        able = [
            (amount(v["spec"]["capacity"]["storage"]), name)
            for name, v in self.volumes.items()
            if name not in promised
            and "claimRef" not in v["spec"]
            and v["spec"]["storageClassName"] == wanted["storageClassName"]
            and set(wanted["accessModes"]) <= set(v["spec"]["accessModes"])
            and amount(v["spec"]["capacity"]["storage"]) >= least
            and self.reaches(v, node)
        ]
        return min(able, key=lambda one: one[0])[1] if able else None

    def could_be_made(self, claim: Json, node: str) -> bool:
        by = self.classes[claim["spec"]["storageClassName"]]
        selected = claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node", node)
        topologies = by.get("allowedTopologies")
        allowed = (
            topologies is None or self.labels(node).get(ZONE) in topologies[0]["matchLabelExpressions"][0]["values"]
        )
        return bool(by["provisioner"] != "kubernetes.io/no-provisioner" and selected == node and allowed)

    def zone(self, pod: Json, node: str) -> bool:
        labels = self.labels(node)
        if ZONE not in labels and OLD_ZONE not in labels:
            return True
        for claim in self.used_by(pod):
            volume = self.volumes.get((claim or {}).get("spec", {}).get("volumeName", ""))
            said = (volume or {}).get("metadata", {}).get("labels") or {}
            if ZONE in said and labels.get(ZONE) not in said[ZONE].split("__"):
                return False
            if OLD_ZONE in said and labels.get(OLD_ZONE, labels.get(ZONE)) not in said[OLD_ZONE].split("__"):
                return False
        return True

    def sole(self, pod: Json, node: str) -> bool:
        everybody = [other for pods in self.there.values() for other in pods]
        for claim in self.used_by(pod):
            alone = claim is not None and "ReadWriteOncePod" in claim["spec"]["accessModes"]
            if alone and any(claim is used for other in everybody for used in self.used_by(other)):
                return False
        for other in self.there.get(node, ()):
            for mine in disks(pod):
                for theirs in disks(other):
                    if mine["pdName"] == theirs["pdName"] and not (mine.get("readOnly") and theirs.get("readOnly")):
                        return False
        return True

    def attachable(self, pod: Json, node: str) -> bool:
        if node not in self.limits:
            return True
        there = {one for other in self.there.get(node, ()) for one in self.attached(other)}
        new = self.attached(pod) - there
        return not new or len(there) + len(new) <= self.limits[node]

    def attached(self, pod: Json) -> set[str]:
        """The driver's volumes, each once; what has no volume yet counts by its claim."""
        found = set()
        for claim in self.used_by(pod):
            volume = self.volumes.get((claim or {}).get("spec", {}).get("volumeName", ""))
            if volume is not None and "csi" in volume["spec"]:
                found.add(volume["spec"]["csi"]["volumeHandle"])
                continue
            maker = self.classes[claim["spec"]["storageClassName"]] if claim is not None and volume is None else {}
            if claim is not None and maker.get("provisioner") == DRIVER:
                found.add("claim " + claim["metadata"]["name"])
        return found

    # --- devices

    def given(self, pod: Json, node: str) -> bool:
        open_: list[tuple[Json, Json]] = []
        for named in pod["spec"].get("resourceClaims", ()):
            claim = self.asked[named["resourceClaimName"]]
            allocation = claim.get("status", {}).get("allocation")
            if allocation is None:
                open_ += [(claim, request["exactly"]) for request in claim["spec"]["devices"]["requests"]]
            elif node not in allocation["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"]:
                return False
        taken = {
            (result["pool"], result["device"])
            for claim in self.asked.values()
            for result in claim.get("status", {}).get("allocation", {"devices": {"results": []}})["devices"]["results"]
        }
        free = [one for one in self.devices.get(node, ()) if (node, one["name"]) not in taken]
        return can_have(open_, free, {})

    # --- scores

    def images(self, pod: Json, node: str) -> float:
        containers = pod["spec"]["containers"]
        total = 0.0
        for container in containers:
            holders = [name for name in self.nodes if container["image"] in self.held(name)]
            if node in holders:
                total += self.held(node)[container["image"]] * len(holders) / len(self.nodes)
        most = LARGEST * len(containers)
        return 100 * (min(max(total, SMALLEST), most) - SMALLEST) / (most - SMALLEST)

    def held(self, node: str) -> dict[str, int]:
        listed = self.nodes[node]["status"].get("images", ())
        return {name: image["sizeBytes"] for image in listed for name in image["names"]}


def volumes_of(pod: Json) -> list[Json]:
    return list(pod["spec"].get("volumes", ()))


def disks(pod: Json) -> list[Json]:
    return [volume["gcePersistentDisk"] for volume in volumes_of(pod) if "gcePersistentDisk" in volume]


def amount(text: str) -> int:
    return int(text.removesuffix("Gi"))


def can_have(open_: list[tuple[Json, Json]], free: list[Json], models: dict[str, str]) -> bool:
    """Every way to give devices is tried. `models`: what a claim whose devices have to be alike has already."""
    if not open_:
        return True
    (claim, request), rest = open_[0], open_[1:]
    wanted = request.get("selectors")
    matching = [one for one in free if not wanted or model(one) in wanted[0]["cel"]["expression"][-2:]]
    alike, name = bool(claim["spec"]["devices"].get("constraints")), claim["metadata"]["name"]
    for chosen in combinations(matching, request["count"]):
        kinds = {model(one) for one in chosen} | ({models[name]} if name in models else set())
        if alike and len(kinds) > 1:
            continue
        left = [one for one in free if one not in chosen]
        if can_have(rest, left, {**models, name: model(chosen[0])} if alike else models):
            return True
    return False


def model(device: Json) -> str:
    return str(device["attributes"]["model"]["string"])

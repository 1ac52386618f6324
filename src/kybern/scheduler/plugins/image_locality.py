"""ImageLocality: rather where the pod's images are already, by their size, and less so where only few nodes have them."""

from dataclasses import dataclass

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import SCORE_MAX, Column, ScorePlugin
from kybern.scheduler.nodes import Nodes

SIZE_MIN = 23 * 1024 * 1024  # below it, pulling is no matter
SIZE_MAX = 1000 * 1024 * 1024  # for each container


@dataclass(frozen=True, slots=True)
class Images:
    names: tuple[str, ...]
    containers: int


class ImageLocality(ScorePlugin[Images]):
    name = "ImageLocality"

    def pre_score(self, pod: Pod, nodes: Nodes) -> Images | None:
        containers = (*(pod.spec.init_containers or ()), *pod.spec.containers)
        known = [normalized(c.image or "") for c in containers]
        names = tuple(name for name in known if name in nodes.snapshot.images)
        return Images(names, len(containers)) if names else None

    def score(self, state: Images, nodes: Nodes) -> Column[np.int64]:
        total = np.zeros(len(nodes), np.int64)
        everywhere = max(nodes.snapshot.count, 1)
        for name in state.names:
            holders = nodes.snapshot.images.get(name, {})
            size = max(holders.values(), default=0)
            total += nodes.named(holders) * int(size * len(holders) / everywhere)
        most = SIZE_MAX * state.containers
        return SCORE_MAX * (np.clip(total, SIZE_MIN, most) - SIZE_MIN) // (most - SIZE_MIN)


def normalized(image: str) -> str:
    """With its tag, as nodes list it."""
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"

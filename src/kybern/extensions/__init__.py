"""Extending a cluster in Python: a decorated function in a file that `kybern up --extension FILE` loads.

    from kybern.api.core_v1 import Pod
    from kybern.extensions import Refused, validates

    @validates(Pod)
    def pinned(pod: Pod) -> None:
        if any(container.image.endswith(":latest") for container in pod.spec.containers):
            raise Refused("pin your images: `latest` changes under you")

Objects come typed, there is no server to deploy, and a change of the file counts half a second later. Whatever the file
declares is a value in it: a decorator turns the function into one, and nothing is registered anywhere.

`rules` holds those values, `files` reads them out of a file and again when it changes.
"""

from kybern.extensions.rules import Refused, Request, controller, filters, mutates, scores, validates

__all__ = ["Refused", "Request", "controller", "filters", "mutates", "scores", "validates"]

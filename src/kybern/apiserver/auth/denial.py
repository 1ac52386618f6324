"""Refusals in upstream's words: who may not do what, where."""

from kybern.api.errors import About, Forbidden
from kybern.apiserver.request import Attributes


def refusal(attributes: Attributes) -> str:
    """`User "jane" cannot list resource "pods" in API group "" in the namespace "default"`."""
    user, verb = attributes.user.name, attributes.verb
    if not attributes.is_resource:
        return f'User "{user}" cannot {verb} path "{attributes.path}"'
    resource = "/".join(part for part in (attributes.resource, attributes.subresource) if part)
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return f'User "{user}" cannot {verb} resource "{resource}" in API group "{attributes.group}" {where}'


def forbidden_request(attributes: Attributes, reason: str = "") -> Forbidden:
    """The answer to a request that authorization refused."""
    text = refusal(attributes) + (f": {reason}" if reason else "")
    if not attributes.is_resource:
        return Forbidden(f"forbidden: {text}", About())
    about = About(resource=attributes.resource, group=attributes.group, name=attributes.name)
    named = f' "{attributes.name}"' if attributes.name else ""
    return Forbidden(f"{about.qualified}{named} is forbidden: {text}", about)

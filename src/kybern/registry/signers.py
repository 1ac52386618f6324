"""Names of signers, `example.com/serving`, and of the trust bundles that belong to one, `example.com:serving:name`."""

from collections.abc import Callable, Iterator

from kybern.api import names
from kybern.api.invalid import FieldError, invalid_value, required, too_long

SIGNER_NAME_MAX = names.SUBDOMAIN_BYTES_MAX + 1 + (names.SUBDOMAIN_BYTES_MAX + names.LABEL_BYTES_MAX + 1)
NOT_A_SIGNER = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def is_own(signer: str) -> bool:
    """Whether the name is one that upstream keeps for itself."""
    domain = signer.partition("/")[0]
    return domain == "kubernetes.io" or domain.endswith(".kubernetes.io")


def validate_signer(signer: str, at: str) -> Iterator[FieldError]:
    if not signer:
        yield required(at)
        return
    domain, slash, path = signer.partition("/")
    if not slash or "/" in path:
        yield invalid_value(at, signer, NOT_A_SIGNER)
        return
    if len(domain) > names.SUBDOMAIN_BYTES_MAX:
        yield too_long(at, "", names.SUBDOMAIN_BYTES_MAX)
    yield from first_wrong_label(domain, names.dns1123_label, at)
    if "." not in domain:
        yield invalid_value(at, domain, "should be a domain with at least two segments separated by dots")
    yield from first_wrong_label(path, names.dns1123_subdomain, at)
    if len(signer) > SIGNER_NAME_MAX:
        yield too_long(at, "", SIGNER_NAME_MAX)


def first_wrong_label(dotted: str, rule: Callable[[str], tuple[str, ...]], at: str) -> Iterator[FieldError]:
    for label in dotted.split("."):
        wrong = rule(label)
        for text in wrong:
            yield invalid_value(at, dotted, f'validating label "{label}": {text}')
        if wrong:
            return


def bundle_name(name: str, signer: str) -> tuple[str, ...]:
    if not signer:
        if ":" in name:
            return ('ClusterTrustBundle without signer name must not have ":" in its name',)
        return names.dns1123_subdomain(name)
    prefix = signer.replace("/", ":") + ":"
    if not name.startswith(prefix):
        return (f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}",)
    return names.dns1123_subdomain(name.removeprefix(prefix))


def signer_of_bundle(name: str) -> str:
    """The signer that a bundle's name tells; empty: none."""
    return name.rpartition(":")[0].replace(":", "/")

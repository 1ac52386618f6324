"""Where a webhook is: a URL, or a Service of the cluster with a path; of admission and of conversion."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from kybern.api import names
from kybern.api.admissionregistration_v1 import WebhookClientConfig
from kybern.api.apiextensions_v1 import WebhookClientConfig as ConversionClientConfig
from kybern.api.invalid import FieldError, invalid_value, required

FORM = "; desired format: https://host[/path]"


def validate_client(config: WebhookClientConfig | ConversionClientConfig, at: str) -> Iterator[FieldError]:
    if (config.url is None) == (config.service is None):
        yield required(at, "exactly one of url or service is required")
    elif config.url is not None:
        yield from validate_url(config.url, f"{at}.url")
    elif config.service is not None:
        for field, value in (("name", config.service.name), ("namespace", config.service.namespace)):
            if not value:
                yield required(f"{at}.service.{field}", f"service {field} is required")
        port = config.service.port
        for wrong in names.port_number(port) if port is not None else ():
            yield invalid_value(f"{at}.service.port", port, f"port is not valid: {wrong}")
        yield from validate_path(config.service.path or "", f"{at}.service.path")


def validate_url(text: str, at: str) -> Iterator[FieldError]:
    try:
        url = urlsplit(text)
    except ValueError as error:
        yield required(at, f"url must be a valid URL: {error}{FORM}")
        return
    if url.scheme != "https":
        yield invalid_value(at, url.scheme, f"'https' is the only allowed URL scheme{FORM}")
    user, at_sign, host = url.netloc.rpartition("@")
    if not host:
        yield invalid_value(at, "", f"host must be specified{FORM}")
    if at_sign:
        yield invalid_value(at, user, "user information is not permitted in the URL")
    if url.fragment:
        yield invalid_value(at, url.fragment, "fragments are not permitted in the URL")
    if url.query:
        yield invalid_value(at, url.query, "query parameters are not permitted in the URL")


def validate_path(path: str, at: str) -> Iterator[FieldError]:
    if path in ("", "/"):
        return
    if path == "//":
        yield invalid_value(at, path, "segment[0] may not be empty")
        return
    if not path.startswith("/"):
        yield invalid_value(at, path, "must start with a '/'")
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        for wrong in names.dns1123_subdomain(step) if step else ():
            yield invalid_value(at, path, f"segment[{index}]: {wrong}")
        if not step:
            yield invalid_value(at, path, f"segment[{index}] may not be empty")

"""Selectors of access reviews narrow the question, and a request's own are the ones its listing uses."""

from typing import Any

import pytest

from kybern.api.authorization_v1 import ResourceAttributes
from kybern.api.codec import from_builtins
from kybern.api.selectors import parse_fields, parse_labels
from kybern.apiserver.auth.access_webhook import spec_of
from kybern.apiserver.auth.restrictions import fields_of, labels_of, wrong_selectors
from kybern.apiserver.layers.understand import SELECTOR_CHARS_MAX, Understand
from kybern.apiserver.request import Attributes, User
from kybern.web.http import Request


def asked(**selectors: Any) -> ResourceAttributes:
    attributes: ResourceAttributes = from_builtins(ResourceAttributes, selectors)
    return attributes


def attributes_of(url: str) -> Attributes:
    path, _, query = url.partition("?")
    return Understand(lambda gvr: None)(Request("GET", path, query, {}, b"")).attributes


def test_raw_selectors_and_requirements_say_the_same() -> None:
    raw = asked(fieldSelector={"rawSelector": "spec.nodeName=a,b!=c"}, labelSelector={"rawSelector": "a in (b,c),!d"})
    listed = asked(
        fieldSelector={
            "requirements": [
                {"key": "spec.nodeName", "operator": "In", "values": ["a"]},
                {"key": "b", "operator": "NotIn", "values": ["c"]},
            ]
        },
        labelSelector={
            "requirements": [
                {"key": "a", "operator": "In", "values": ["b", "c"]},
                {"key": "d", "operator": "DoesNotExist"},
            ]
        },
    )
    assert (
        fields_of(raw.field_selector)
        == fields_of(listed.field_selector)
        == parse_fields("spec.nodeName=a,b!=c").requirements
    )
    assert (
        labels_of(raw.label_selector) == labels_of(listed.label_selector) == parse_labels("a in (b,c),!d").requirements
    )


def test_what_cannot_be_understood_restricts_nothing() -> None:
    wrong = asked(
        fieldSelector={"requirements": [{"key": "a", "operator": "Near", "values": ["b"]}, {"key": "c", "operator": "In", "values": ["d", "e"]}]},
        labelSelector={"rawSelector": "a in"},
    )  # fmt: skip
    assert fields_of(wrong.field_selector) == ()
    assert labels_of(wrong.label_selector) == ()


def test_a_selector_is_given_in_one_form() -> None:
    both = {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}
    for selector, fault in ((both, "rawSelector"), ({}, "requirements")):
        for name in ("fieldSelector", "labelSelector"):
            errors = list(wrong_selectors(asked(**{name: selector}), "spec.resourceAttributes"))
            assert [error.field for error in errors] == [f"spec.resourceAttributes.{name}.{fault}"]


def test_a_webhook_is_told_what_a_list_is_restricted_to() -> None:
    url = "/api/v1/pods?fieldSelector=spec.nodeName!=a&labelSelector=b,c%20notin%20(d),e=f"
    told = spec_of(attributes_of(url))["resourceAttributes"]
    assert told["fieldSelector"] == {"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["a"]}]}
    assert told["labelSelector"] == {
        "requirements": [
            {"key": "b", "operator": "Exists"},
            {"key": "c", "operator": "NotIn", "values": ["d"]},
            {"key": "e", "operator": "In", "values": ["f"]},
        ]
    }
    assert "fieldSelector" not in spec_of(attributes_of("/api/v1/pods"))["resourceAttributes"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("fieldSelector=metadata.name=a", "a"),
        ("fieldSelector=metadata.name==a,metadata.namespace=x", "a"),
        ("fieldSelector=metadata.name!=a", ""),
        ("fieldSelector=&fieldSelector=metadata.name=a", ""),
        ("fieldSelector=metadata.name=a%2Fb", ""),
        ("fieldSelector=metadata.name=a&limit=500", "a"),
        (f"fieldSelector=metadata.name={'a' * SELECTOR_CHARS_MAX}", ""),
    ],
)
def test_a_list_of_one_name_is_authorized_as_that_name(query: str, name: str) -> None:
    assert attributes_of(f"/api/v1/namespaces/x/pods?{query}").name == name


def test_who_reads_one_object_is_restricted_by_nothing() -> None:
    assert attributes_of("/api/v1/namespaces/x/pods/p?fieldSelector=metadata.name=q").fields == ()
    assert Attributes(user=User("a"), verb="get").labels == ()

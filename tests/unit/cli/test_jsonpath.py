"""`-o jsonpath`."""

import pytest

from kybern.cli.kubectl.jsonpath import BadTemplate, render

VALUE = {
    "items": [{"name": "a", "ports": [80, 443]}, {"name": "b", "ports": []}],
    "metadata": {"labels": {"app.kubernetes.io/name": "web"}, "ready": True},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[0].name}", "a"),
        ("{.items[-1].name}", "b"),
        ("{.items[*].name}", "a b"),
        ("{$.items[0].ports}", "[80,443]"),
        ("{.items[*].ports[*]}", "80 443"),
        ('name: {.items[1].name}, ready: {.metadata.ready}{"\\n"}', "name: b, ready: true\n"),
        ("{.metadata.labels.app\\.kubernetes\\.io/name}", "web"),
        ("{.metadata.labels['app.kubernetes.io/name']}", "web"),
        ("{.items[5].name}{.nothing.at.all}", ""),
        ("{.items[0].name", None),
        ("{range .items[*]}{.name}{end}", None),
    ],
)
def test_a_template_becomes_text(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(BadTemplate):
            render(template, VALUE)
    else:
        assert render(template, VALUE) == text

"""AuthenticationConfiguration: what it says is done, and what is not understood is not passed over."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kybern.aio.clock import LoopClock
from kybern.api.errors import Unauthorized
from kybern.apiserver.auth.bearer import BearerAuthenticator, RemoteTokens
from kybern.apiserver.auth.chain import Chain
from kybern.apiserver.auth.jwt_issuer import JwtIssuer, JwtSettings, user_from
from kybern.apiserver.request import User
from kybern.cmd.authentication_config import Configured, read_configuration
from kybern.cmd.outside import anonymous_at, followed
from kybern.cmd.server_options import ServerOptions
from kybern.web.http import Request

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
MAPPINGS = {
    "username": {"claim": "sub", "prefix": "x:"},
    "groups": {"claim": "teams", "prefix": "y:"},
    "uid": {"claim": "id"},
}
JWT = {
    "issuer": {"url": "https://a.test", "audiences": ["k"], "certificateAuthority": "PEM"},
    "claimValidationRules": [{"claim": "hd", "requiredValue": "z"}],
    "claimMappings": MAPPINGS,
}


def configured(tmp_path: Path, **changes: Any) -> Configured:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(HEAD | {"jwt": [JWT]} | changes))
    return read_configuration(tmp_path / "a.yaml")


def test_an_issuer_and_how_its_claims_are_read(tmp_path: Path) -> None:
    [(settings, ca)] = configured(tmp_path).issuers
    assert settings == JwtSettings(
        url="https://a.test", audiences=("k",), username_prefix="x:", groups_claim="teams", groups_prefix="y:",
        uid_claim="id", required_claims={"hd": "z"},
    )  # fmt: skip
    assert ca == b"PEM"
    user = user_from({"sub": "jane", "teams": ["a"], "id": "7", "hd": "z"}, settings)
    assert user is not None and (user.name, user.groups, user.uid) == ("x:jane", ("y:a",), "7")
    assert user_from({"sub": "jane", "id": "7", "hd": "other"}, settings) is None
    assert user_from({"sub": "jane", "id": 7, "hd": "z"}, settings) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Other"},
        {"apiVersion": "v9"},
        {"surprise": 1},
        {"jwt": [JWT, JWT]},
        {"jwt": [JWT | {"issuer": {"url": "http://a.test", "audiences": ["k"]}}]},
        {"jwt": [JWT | {"issuer": {"url": "https://a.test", "audiences": []}}]},
        {"jwt": [JWT | {"claimValidationRules": [{"expression": "claims."}]}]},
        {"jwt": [JWT | {"claimValidationRules": [{"expression": "1 + 1"}]}]},
        {"jwt": [JWT | {"claimValidationRules": [{"expression": "true", "claim": "a"}]}]},
        {"jwt": [JWT | {"userValidationRules": [{"expression": "claims.sub == 'a'"}]}]},
        {"jwt": [JWT | {"claimMappings": {"username": {"expression": "claims.sub", "prefix": "a"}}}]},
        {"jwt": [JWT | {"claimMappings": {"username": {"expression": "claims.email"}}}]},
        {"jwt": [JWT | {"claimMappings": {"username": {"expression": "[1]"}}}]},
        {"jwt": [JWT | {"claimMappings": {"username": {}}}]},
        {"jwt": [JWT | {"claimMappings": {"username": {"claim": "sub"}}}]},
    ],
)
def test_what_makes_no_sense_or_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a\.yaml"):
        configured(tmp_path, **changes)


@pytest.mark.parametrize(
    ("anonymous", "healthz", "api"),
    [
        (None, True, True),
        ({"enabled": True}, True, True),
        ({"enabled": False}, False, False),
        ({"enabled": True, "conditions": [{"path": "/healthz"}]}, True, False),
    ],
)
async def test_nobody_in_particular_comes_in_where_it_says(
    tmp_path: Path, anonymous: Any, healthz: bool, api: bool
) -> None:
    given = {"anonymous": anonymous} if anonymous is not None else {}
    chain = Chain((), anonymous_at(configured(tmp_path, **given).anonymous))
    for path, welcome in (("/healthz", healthz), ("/api", api)):
        if welcome:
            assert (await chain(Request("GET", path))).name == "system:anonymous"
        else:
            with pytest.raises(Unauthorized):
                await chain(Request("GET", path))


COMPUTED = {
    "issuer": JWT["issuer"],
    "claimValidationRules": [{"expression": "claims.exp - claims.nbf <= 86400", "message": "lives too long"}],
    "claimMappings": {
        "username": {"expression": "claims.given + '.' + claims.family"},
        "groups": {"expression": "claims.roles.split(',')"},
        "uid": {"expression": "claims.id"},
        "extra": [{"key": "acme.test/team", "valueExpression": "claims.team"}],
    },
    "userValidationRules": [{"expression": "!user.username.startsWith('system:')"}],
}
CLAIMS = {"given": "jane", "family": "doe", "roles": "a,b", "id": "7", "team": "t", "exp": 100, "nbf": 0}


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, True),
        ({"exp": 100_000}, False),
        ({"given": "system:x"}, False),
        ({"given": None}, False),
        ({"family": 7}, False),
        ({"roles": ["a"]}, False),
        ({"team": 7}, False),
        ({"id": None}, False),
    ],
)
def test_a_user_can_be_computed_and_must_meet_the_rules(
    tmp_path: Path, changes: dict[str, Any], accepted: bool
) -> None:
    [(settings, _)] = configured(tmp_path, jwt=[COMPUTED]).issuers
    user = user_from(CLAIMS | changes, settings)
    assert (user is not None) is accepted
    if user is not None:
        assert (user.name, user.groups, user.uid) == ("jane.doe", ("a", "b"), "7")
        assert user.extra == {"acme.test/team": ("t",)}


def test_an_expression_that_costs_too_much_makes_nobody(tmp_path: Path) -> None:
    dear = "claims.l.all(a, claims.l.all(b, claims.l.all(c, a + b + c >= 0)))"
    [(settings, _)] = configured(tmp_path, jwt=[COMPUTED | {"claimValidationRules": [{"expression": dear}]}]).issuers
    assert user_from(CLAIMS | {"l": [1, 2]}, settings) is not None
    assert user_from(CLAIMS | {"l": list(range(400))}, settings) is None


def test_the_file_is_followed_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    configured(tmp_path, jwt=[JWT | {"issuer": JWT["issuer"] | {"certificateAuthority": ""}}])
    believed: list[list[str]] = []

    class Access:
        def use_remote_tokens(self, sources: tuple[JwtIssuer, ...]) -> None:
            believed.append([source.settings.url for source in sources])

    [file] = followed(ServerOptions(authentication_config=str(path)), Access(), LoopClock())  # type: ignore[arg-type]
    file.look()
    assert believed == []
    configured(tmp_path, jwt=[])
    file.look()
    path.write_text("{}")
    file.look()
    path.unlink()
    file.look()
    assert believed == [[]]
    configured(tmp_path, jwt=[JWT | {"issuer": {"url": "https://b.test", "audiences": ["k"]}}])
    file.look()
    assert believed == [[], ["https://b.test"]]


async def test_other_issuers_count_from_the_next_token_on() -> None:
    async def old(token: str) -> User | None:
        return User("old")

    async def new(token: str) -> User | None:
        return User("new")

    believed = RemoteTokens((old,))
    bearer = BearerAuthenticator((), believed)
    request = Request("GET", "/api", "", {"authorization": "Bearer t"}, b"")
    assert await bearer(request) == User("old")
    believed.use((new,))
    assert await bearer(request) == User("new")
    believed.use(())
    with pytest.raises(Unauthorized):
        await bearer(request)

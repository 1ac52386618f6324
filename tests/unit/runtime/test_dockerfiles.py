"""A Dockerfile is read as Docker's reference says: lines, comments, heredocs, variables, stages, ignored files."""

import pytest

from kybern.runtime.build.dockerfile import DockerfileError, parse
from kybern.runtime.build.expansion import expand, pairs, split
from kybern.runtime.build.files import file_step
from kybern.runtime.build.ignore import Ignore
from kybern.runtime.build.mounts import mounts_of
from kybern.runtime.build.settings import Settings, empty
from kybern.runtime.build.stages import plan
from kybern.runtime.build.steps import STEPS, argument


def steps(text: str) -> list[tuple[str, str]]:
    return [(step.keyword, step.text) for step in parse(text).instructions]


def test_lines_are_joined_and_comments_within_them_are_left_out() -> None:
    text = "# a comment\nFROM a\nRUN one \\\n  # not a part\n\n  && two\n\nCMD x\n"
    assert steps(text) == [("FROM", "a"), ("RUN", "one   && two"), ("CMD", "x")]


def test_a_directive_changes_the_escape_character() -> None:
    assert steps("# escape=`\nFROM a\nCOPY c:\\x `\n d\n")[1] == ("COPY", "c:\\x  d")


def test_a_directive_after_a_comment_is_a_comment() -> None:
    assert parse("# hello\n# escape=`\nFROM a\n").escape == "\\"


def test_the_json_form_is_recognised_and_anything_else_is_for_the_shell() -> None:
    found = parse('FROM a\nCMD ["a", "b c"]\nCMD ["a", 1]\nCMD [a]\n').instructions
    assert [step.words for step in found[1:]] == [("a", "b c"), None, None]


def test_flags_stand_before_the_arguments() -> None:
    step = parse("FROM a\nCOPY --from=b --chown=1:2 /x /y\n").instructions[1]
    assert step.flags == (("from", "b"), ("chown", "1:2")) and step.text == "/x /y"


def test_heredocs_are_collected_with_their_names() -> None:
    text = "FROM a\nRUN <<-EOF sh\n\tone\n\ttwo\n\tEOF\nCOPY <<'A' <<B /d/\n$x\nA\n$y\nB\n"
    run, copy = parse(text).instructions[1:]
    assert [(h.name, h.content, h.expand) for h in run.heredocs] == [("EOF", "one\ntwo\n", True)]
    assert [(h.name, h.content, h.expand) for h in copy.heredocs] == [("A", "$x\n", False), ("B", "$y\n", True)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "file with no instructions"),
        ("FROM a\nNOPE x\n", "line 2: unknown instruction: NOPE"),
        ("RUN x\n", "no build stage in current context"),
        ("FROM a b\n", "FROM requires either one or three arguments"),
        ("FROM a\nRUN <<EOF\nx\n", "unterminated heredoc EOF"),
        ("FROM a\nSHELL /bin/sh\n", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nRUN\n", "RUN requires at least one argument"),
        ("FROM $none\n", "base name ($none) should not be blank"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(DockerfileError, match=None) as error:
        plan(parse(text), {})
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-$B", "1-"),
        ("${A}x", "1x"),
        ("${B:-2}${A:-3}", "21"),
        ("${E-x}${E:-x}", "x"),
        ("${A:+yes}${B:+no}", "yes"),
        ("${B:-${A}}", "1"),
        ("'$A' \"$A\"", "$A 1"),
        (r"\$A", "$A"),
        (r'"\$A \x"', r"$A \x"),
        ("${P#*/}", "b/c.tar.gz"),
        ("${P##*/}", "c.tar.gz"),
        ("${P%.*}", "a/b/c.tar"),
        ("${P%%.*}", "a/b/c"),
        ("${P/b/x}${A//1/2}", "a/x/c.tar.gz2"),
        ("$", "$"),
    ],
)
def test_variables_are_replaced(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "E": "", "P": "a/b/c.tar.gz"}) == expected


def test_a_variable_that_must_be_set_says_so() -> None:
    with pytest.raises(DockerfileError, match="B: give it"):
        expand("${B:?give it}", {})


def test_words_are_split_at_blanks_that_are_not_quoted() -> None:
    assert split(r"""a "b c" 'd e' f\ g""") == ["a", '"b c"', "'d e'", r"f\ g"]


def test_pairs_have_a_new_and_an_old_form() -> None:
    assert pairs('A=1 B="x y"') == [("A", "1"), ("B", '"x y"')]
    assert pairs("A the rest = all") == [("A", "the rest = all")]


def test_a_build_needs_the_target_and_what_it_takes_from() -> None:
    text = (
        "ARG V=1\nFROM base:$V AS one\nFROM scratch AS two\nCOPY --from=one /a /\n"
        "FROM x AS three\nFROM two\nRUN --mount=type=bind,from=three,target=/t true\n"
    )
    planned = plan(parse(text), {"V": "2"})
    assert [stage.base for stage in planned.needed()] == ["base:2", "scratch", "x", "two"]
    assert [stage.name for stage in plan(parse(text), {}, "two").needed()] == ["one", "two"]
    with pytest.raises(DockerfileError, match="target stage 'nope' could not be found"):
        plan(parse(text), {}, "nope")


def test_an_argument_counts_from_where_it_is_declared_and_an_env_goes_before_it() -> None:
    planned = plan(parse("ARG A=outer\nFROM scratch\nARG A\nARG B=$A-b\nARG C\nENV B=env\n"), {"C": "given"})
    settings = empty()
    for step in planned.target.steps[:3]:
        settings = argument(settings, step, "\\", {"C": "given"}, planned.globals)
    assert dict(settings.arguments) == {"A": "outer", "B": "outer-b", "C": "given"}
    assert STEPS["ENV"](settings, planned.target.steps[3], "\\").variables["B"] == "env"


def after(text: str, settings: Settings | None = None) -> Settings:
    settings = settings or empty()
    for step in parse(f"FROM scratch\n{text}").instructions[1:]:
        settings = STEPS[step.keyword](settings, step, "\\")
    return settings


def test_what_an_image_says_about_itself() -> None:
    config = after(
        "ENV A=1 B=$PATH\nLABEL a=1 b='x y'\nEXPOSE 80 53/udp 8000-8001\nVOLUME /a /b\nUSER web\nSTOPSIGNAL SIGINT\n"
        'CMD echo $A\nENTRYPOINT ["/e"]\nHEALTHCHECK --interval=1m30s --retries=2 CMD true\nONBUILD RUN x\n'
    ).config
    assert config["Env"][1:] == ["A=1", f"B={config['Env'][0].removeprefix('PATH=')}"]
    assert config["Labels"] == {"a": "1", "b": "x y"}
    assert list(config["ExposedPorts"]) == ["80/tcp", "53/udp", "8000/tcp", "8001/tcp"]
    assert config["Volumes"] == {"/a": {}, "/b": {}} and config["User"] == "web" and config["StopSignal"] == "SIGINT"
    assert config["Cmd"] == ["/bin/sh", "-c", "echo $A"] and config["Entrypoint"] == ["/e"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9, "Retries": 2}
    assert config["OnBuild"] == ["RUN x"]


def test_values_of_one_env_are_those_from_before_it() -> None:
    assert after("ENV A=1\nENV A=2 B=$A\n").environment["B"] == "1"


def test_an_entrypoint_forgets_the_bases_command_but_not_ones_own() -> None:
    base = empty().with_config(Cmd=["base"])
    assert "Cmd" not in after('ENTRYPOINT ["/e"]\n', base).config
    assert after('CMD ["mine"]\nENTRYPOINT ["/e"]\n', base).config["Cmd"] == ["mine"]


def copied(text: str, settings: Settings | None = None):  # type: ignore[no-untyped-def]
    return file_step(settings or empty(), parse(f"FROM a\n{text}").instructions[1], "\\")


def test_a_destination_is_in_the_working_directory_and_keeps_its_slash() -> None:
    here = empty().with_config(WorkingDir="/app")
    assert copied("COPY a b", here).destination == "/app/b"
    assert copied("COPY a b/", here).destination == "/app/b/"
    assert copied("COPY a .", here).destination == "/app/"
    assert copied("COPY a /", here).destination == "/"


def test_several_sources_need_a_directory() -> None:
    with pytest.raises(DockerfileError, match="more than one source file"):
        copied("COPY a b c")


def test_only_add_takes_addresses_and_unpacks() -> None:
    assert copied("ADD http://x/y /z").urls == ("http://x/y",) and copied("ADD a /z").unpack
    assert copied("COPY http://x/y /z").patterns == ("http://x/y",) and not copied("COPY a /z").unpack


def test_heredocs_are_files_and_expanded_unless_quoted() -> None:
    settings = empty().with_environment({"A": "1"})
    assert copied("COPY <<x <<'y' /d/\n$A\nx\n$A\ny\n", settings).inline == (("x", "1\n"), ("y", "$A\n"))


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(DockerfileError, match="unknown flag: form"):
        copied("COPY --form=x a b")


def test_mounts_have_dockers_defaults() -> None:
    step = parse(
        "FROM a\nRUN --mount=type=cache,target=/c --mount=type=secret,id=k --mount=target=/b,source=x true\n"
    ).instructions[1]
    cache, secret, bind = mounts_of(step, {}, "\\")
    assert (cache.kind, cache.identifier, cache.mode, cache.readonly) == ("cache", "/c", 0o755, False)
    assert (secret.target, secret.mode) == ("/run/secrets/k", 0o400)
    assert (bind.kind, bind.source, bind.readonly) == ("bind", "x", True)


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        ("*.log", "a.log", True),
        ("*.log", "d/a.log", False),
        ("**/*.log", "d/e/a.log", True),
        ("**/*.log", "a.log", True),
        ("d", "d/e/f", True),
        ("/d/", "d", True),
        ("d/*\n!d/keep", "d/keep", False),
        ("d/*\n!d/keep", "d/other", True),
        ("!a\n*", "a", True),
        ("**", "x/y", True),
        ("d/**", "d", False),
        ("[a-c]?", "bx", True),
        ("[^a]x", "bx", True),
        ("# not a pattern", "# not a pattern", False),
    ],
)
def test_ignored_files(patterns: str, path: str, out: bool) -> None:
    assert Ignore(patterns).leaves_out(path) is out

"""Layers of config to each board's bundle: who gets which file, and what is refused with which words."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.control import trees
from edgesync.control.desired import compile_fleet
from edgesync.control.repository import PROBLEMS_LIMIT
from edgesync.control.types import EXECUTABLE, SourceFile
from edgesync.wire.bundle import BUNDLE_LIMIT, PATH_LIMIT, Bundle, BundleFile, Settings, encode
from edgesync.wire.ids import digest_of
from tests.control.config_texts import BOARDS, FLEET, bundles, problems, read

FLEET_FILES = "config/fleet/files"


def text_of(bundle: Bundle, path: str) -> str:
    return bundle.files[path].data.decode()


# --- layers --------------------------------------------------------------------------------------------------------


def test_a_later_layers_file_replaces_an_earlier_ones():
    files = {
        "config/fleet/files/app/a": "fleet",
        "config/fleet/files/app/b": "fleet",
        "config/groups/canary/files/app/a": "canary",
        "config/boards/b01/files/app/a": "b01",
        "config/boards/b03/files/net/x.conf": "b03",
    }
    found = {name: {path: file.data for path, file in bundle.files.items()} for name, bundle in bundles(files).items()}
    assert found == {
        "b01": {"app/a": b"b01", "app/b": b"fleet"},
        "b02": {"app/a": b"canary", "app/b": b"fleet"},
        "b03": {"app/a": b"fleet", "app/b": b"fleet", "net/x.conf": b"b03"},
    }


def test_a_later_layers_key_replaces_an_earlier_ones_whole():
    files = {
        "config/fleet/config.yaml": "check: [app-check, ping]\nreload: [app-reload]\nrequires: firmware >= 1.8\n",
        "config/groups/north/config.yaml": "check: [ping]\nprobe: {commands: [ping], for: 30 s}\n",
        "config/boards/b01/config.yaml": "check: []\nprobe: {}\ndrift: report\nrequires: firmware>=1.9\n",
    }
    reload = ("app-reload",)
    assert {name: bundle.settings for name, bundle in bundles(files).items()} == {
        "b01": Settings((), reload, drift="report"),
        "b02": Settings(("app-check", "ping"), reload),
        "b03": Settings(("ping",), reload, ("ping",), 30),
    }
    requires = {device: config.requires for device, config in read(files).configs.items()}
    assert requires == {"demo.b01": "firmware >= 1.9", "demo.b02": "firmware >= 1.8", "demo.b03": "firmware >= 1.8"}


def test_modes_are_gits_and_those_of_the_layer_that_holds_the_file():
    files = {
        "config/fleet/config.yaml": 'modes: {app/secret: "0600", app/made: "755"}\n',
        "config/fleet/files/app/secret": "x",
        "config/fleet/files/app/made.j2": "x",
        "config/fleet/files/app/run": SourceFile(b"x", EXECUTABLE),
        "config/boards/b02/files/app/secret": "y",
    }
    modes = {name: {path: file.mode for path, file in bundle.files.items()} for name, bundle in bundles(files).items()}
    assert modes["b01"] == {"app/secret": 0o600, "app/made": 0o755, "app/run": 0o755}
    assert modes["b02"]["app/secret"] == 0o644


def test_a_board_without_a_layer_has_no_config_and_one_with_an_empty_layer_has_an_empty_one():
    assert read({}).configs == {}
    found = bundles({"config/boards/b02/config.yaml": "drift: heal\n"})
    assert found == {"b02": Bundle()}


def test_boards_with_the_same_config_share_one_bundle_whatever_their_layers_are():
    files = {
        "config/fleet/files/app/a": "same",
        "config/boards/b02/files/app/a": "same",
        "config/groups/north/files/app/b.j2": "{{ labels.site }}",
    }
    configs = read(files).configs
    assert configs["demo.b01"] is configs["demo.b03"]
    assert configs["demo.b01"].sha256 != configs["demo.b02"].sha256
    del files["config/groups/north/files/app/b.j2"]
    assert len({id(config) for config in read(files).configs.values()}) == 1


def test_what_a_board_wants_has_its_bundle_by_digest_even_without_a_release():
    files = {"fleet.yaml": FLEET.replace("defaults:\n  release: v1\n", ""), "config/boards/b01/files/app/a": "x"}
    (wanted,) = compile_fleet(read(files)).values()
    data = encode(Bundle({"app/a": BundleFile(b"x")}))
    assert (wanted.device, wanted.release, wanted.images) == ("demo.b01", "", {})
    assert wanted.config is not None
    assert (wanted.config.sha256, wanted.config.length, wanted.config.data) == (digest_of(data), len(data), data)


PATHS = st.sampled_from(["app/a", "app/b", "app/c/d", "net/x.conf"])
LAYERS = st.dictionaries(PATHS, st.sampled_from("123"), max_size=4)


@given(LAYERS, LAYERS, LAYERS, LAYERS)
def test_every_board_has_each_file_of_its_layers_once_from_the_last_or_two_groups_disagree(
    fleet: dict[str, str], canary: dict[str, str], north: dict[str, str], own: dict[str, str]
):
    layers = {"fleet": fleet, "groups/canary": canary, "groups/north": north, "boards/b01": own}
    files = {f"config/{name}/files/{path}": text for name, layer in layers.items() for path, text in layer.items()}
    found = problems(files)
    torn = (canary.keys() & north.keys()) - own.keys()
    assert {problem.found for problem in found} == {
        f"{path!r} from group canary and north for board b01" for path in torn
    }
    if not torn:
        expected = {
            "b01": fleet | canary | north | own,
            "b02": fleet | canary,
            "b03": fleet | north,
        }
        got = bundles(files)
        for board, tree in expected.items():
            assert {path: text_of(got[board], path) for path in got[board].files} == tree if board in got else not tree


def test_two_groups_that_set_one_key_are_both_named_and_the_boards_own_settles_it():
    files = {
        "config/groups/canary/config.yaml": "check: [ping]\n",
        "config/groups/north/config.yaml": "check: [ping]\n",
    }
    (problem,) = problems(files)
    assert str(problem) == (
        "config/groups/north/config.yaml:1: check: found 'check' from group canary and north for board b01, expected "
        "one group that sets the key (narrow one group's select, or set it in the board's own layer)"
    )
    assert not problems(files | {"config/boards/b01/config.yaml": "check: []\n"})


# --- templates -----------------------------------------------------------------------------------------------------


def test_a_template_sees_the_values_of_its_board_and_nothing_more():
    text = "{{ board }} {{ device }} {{ fleet }} {{ type }} {{ labels.ring }} {{ labels['site'] }} {{ release }}\n"
    found = bundles({"config/fleet/files/app/a.j2": text})
    assert text_of(found["b02"], "app/a") == "b02 demo.b02 demo files canary south v1\n"
    assert list(found["b02"].files) == ["app/a"]


def test_text_is_kept_as_it_stands_without_escapes_and_with_its_last_newline():
    found = bundles({"config/fleet/files/app/a.j2": "<{{ '&' }}>\n\n", "config/fleet/files/app/b": b"{{ no }}\r\n\xff"})
    assert found["b01"].files["app/a"].data == b"<&>\n\n"
    assert found["b01"].files["app/b"].data == b"{{ no }}\r\n\xff"


def test_a_label_may_have_the_name_of_a_mappings_method():
    boards = BOARDS.replace("{ring: field, ", "{items: seven, ring: field, ")
    files = {"boards/all.yaml": boards, "config/boards/b03/files/app/a.j2": "{{ labels.items }}"}
    assert text_of(bundles(files)["b03"], "app/a") == "seven"
    files = {"config/boards/b03/files/app/a.j2": "{% for k, v in labels.items() %}{{ k }}={{ v }} {% endfor %}"}
    assert text_of(bundles(files)["b03"], "app/a") == "ring=field site=north "


def test_the_same_repository_gives_the_same_bundles_in_whatever_order_it_is_read():
    files = {f"config/fleet/files/app/{name}.j2": f"{{{{ labels.site }}}} {name}" for name in "cab"}
    reverse = dict(reversed(files.items()))
    assert read(files).configs == read(reverse).configs


# --- what is refused -----------------------------------------------------------------------------------------------

LONG = f"config/fleet/files/app/{'a' * (PATH_LIMIT - 3)}"
MISTAKES: dict[str, tuple[dict[str, str | bytes], str]] = {
    "an undefined label": (
        {"config/fleet/files/app/a.j2": "x\n{{ labels.rack }}\n"},
        "config/fleet/files/app/a.j2:2: found no label 'rack' for board b01 and 2 more, expected a template",
    ),
    "a label that some boards have not got": (
        {
            "boards/all.yaml": BOARDS.replace(", site: south", ""),
            "config/fleet/files/app/a.j2": "{{ labels.site }}",
        },
        "config/fleet/files/app/a.j2:1: found no label 'site' for board b02, expected a template",
    ),
    "an unknown name": (
        {"config/fleet/files/app/a.j2": "\n\n{% if 0 %}{{ label.site }}{% endif %}"},
        (
            "config/fleet/files/app/a.j2:3: found the unknown name 'label', expected one of board, device, fleet, "
            "type, labels, release (did you mean 'labels'?)"
        ),
    ),
    "a mistake in a template": (
        {"config/fleet/files/app/a.j2": "\n{% if %}"},
        "config/fleet/files/app/a.j2:2: found a mistake: ",
    ),
    "a template that includes another": (
        {"config/fleet/files/app/a.j2": "\n{% include 'b' %}"},
        "config/fleet/files/app/a.j2:2: found the tag `include`, expected a template that stands alone",
    ),
    "a template of bytes": (
        {"config/fleet/files/app/a.j2": b"\xff"},
        "config/fleet/files/app/a.j2: found bytes that are no text, expected a template in UTF-8",
    ),
    "a template beside its text": (
        {"config/fleet/files/app/a": "", "config/fleet/files/app/a.j2": ""},
        "config/fleet/files/app/a.j2: found 'app/a' twice, here and in config/fleet/files/app/a",
    ),
    "a path that the type does not allow": (
        {"config/boards/b03/files/etc/passwd": ""},
        (
            "config/boards/b03/files/etc/passwd: found the path 'etc/passwd' for board b03, expected a path that "
            "boards of type files allow (allowed: app/**, net/*.conf)"
        ),
    ),
    "an unknown command": (
        {"config/fleet/config.yaml": "drift: heal\ncheck: [ping, app-chek]\n"},
        (
            "config/fleet/config.yaml:2: check: found 'app-chek' for board b01 and 2 more, expected a command of "
            "boards of type files (did you mean 'app-check'?)"
        ),
    ),
    "an unknown command of a probe": (
        {"config/groups/north/config.yaml": "probe: {commands: [reboot], for: 10 s}\n"},
        "config/groups/north/config.yaml:1: probe: found 'reboot' for board b01 and 1 more",
    ),
    "a path out of the tree": (
        {"config/fleet/files/app/../../x": ""},
        "config/fleet/files/app/../../x: found an empty name, `.` or `..`",
    ),
    "a name with a control character": (
        {"config/fleet/files/app/a\x1b[2J\nb": ""},
        r"config/fleet/files/app/a\x1b[2J\nb: found a character that is not printable",
    ),
    "a name that is too long": ({LONG: ""}, "found a path of 201 characters"),
    "a template's name that is nothing": ({"config/fleet/files/.j2": ""}, "found a path of 0 characters"),
    "a file that is a directory elsewhere": (
        {"config/fleet/files/app/a": "", "config/boards/b02/files/app/a/b": ""},
        (
            "config/boards/b02/files/app/a/b: found 'app/a' as a directory, which config/fleet/files/app/a makes a "
            "file, for board b02, expected one of the two"
        ),
    ),
    "a file outside of the layers": (
        {"config/fleet/app.conf": ""},
        "config/fleet/app.conf: found a file that no layer has, expected config.yaml or files/ in config/fleet,",
    ),
    "a file beside the layers": ({"config/README.md": ""}, "config/README.md: found a file that no layer has"),
    "a group that is not there": (
        {"config/groups/canry/files/app/a": ""},
        "config/groups/canry: found 'canry', expected the name of a group of this fleet (did you mean 'canary'?)",
    ),
    "a board that is not there": (
        {"config/boards/b09/files/app/a": ""},
        "config/boards/b09: found 'b09', expected the name of a board of this fleet (did you mean",
    ),
    "an unknown key": (
        {"config/fleet/config.yaml": "reloads: [ping]\n"},
        "config/fleet/config.yaml:1: reloads: found the unknown key 'reloads', expected a known key (did you mean",
    ),
    "a mode that locks the owner out": (
        {"config/fleet/config.yaml": 'modes: {app/a: "0044"}\n', "config/fleet/files/app/a": ""},
        (
            "config/fleet/config.yaml:1: modes.app/a: found mode 0044, which its owner cannot read, expected a mode "
            "that lets the owner read: anything else would lock us out"
        ),
    ),
    "a mode with more than permissions": (
        {"config/fleet/config.yaml": 'modes: {app/a: "4755"}\n', "config/fleet/files/app/a": ""},
        "modes.app/a: found '4755', expected permission bits as text",
    ),
    "a mode of a file that the layer has not got": (
        {"config/fleet/config.yaml": 'modes: {app/b: "0600"}\n', "config/boards/b01/files/app/b": ""},
        "modes.app/b: found 'app/b', expected a file of this layer, below config/fleet/files",
    ),
    "a requirement that is none": (
        {"config/fleet/config.yaml": "requires: firmware 1.10\n"},
        "config/fleet/config.yaml:1: requires: found 'firmware 1.10', expected a component,",
    ),
    "a requirement of a component that the release has not got": (
        {"config/fleet/config.yaml": "requires: kernel >= 5\n"},
        "requires: found the component 'kernel' for board b01 and 2 more, expected a component of release 'v1' (firmw",
    ),
    "a probe without a time": (
        {"config/fleet/config.yaml": "probe: {commands: [ping]}\n"},
        "config/fleet/config.yaml:1: probe.for: found nothing, expected how long the commands must succeed",
    ),
    "a probe without commands": (
        {"config/fleet/config.yaml": "probe: {commands: [], for: 2 min}\n"},
        "probe.commands: found an empty list, expected a list of commands",
    ),
    "a probe that is too long": (
        {"config/fleet/config.yaml": "probe: {commands: [ping], for: 2 h}\n"},
        "probe.for: found 7200 s, expected whole seconds, 1 to 3600",
    ),
    "too many commands": (
        {"config/fleet/config.yaml": f"check: {['ping'] * 9}\n".replace("'", "")},
        "check: found 9 commands, expected at most 8",
    ),
    "another way to treat drift": (
        {"config/fleet/config.yaml": "drift: ignore\n"},
        "drift: found 'ignore', expected one of heal, report",
    ),
    "a settings file that is empty": (
        {"config/fleet/config.yaml": ""},
        "config/fleet/config.yaml:1: found nothing, expected a mapping",
    ),
    "a bundle that is too large": (
        {"config/fleet/files/app/a": "x" * (BUNDLE_LIMIT - 10)},
        "for board b01 and 2 more, expected a bundle within the limits of config",
    ),
    "a text that is too large": (
        {"config/fleet/files/app/a.j2": "{% for i in range(9000) %}{{ 'x' * 30 }}{% endfor %}"},
        "config/fleet/files/app/a.j2: found a text of more than 262144 bytes for board b01 and 2 more",
    ),
    "a range that is too long": (
        {"config/fleet/files/app/a.j2": "{% for i in range(10001) %}{% endfor %}"},
        "a.j2:1: found a range of 10001 numbers, expected at most 10000 for board b01 and 2 more",
    ),
    "Python in a template": (
        {"config/fleet/files/app/a.j2": "{{ board.__class__.__mro__ }}"},
        "a.j2:1: found access to attribute '__class__' of 'str' object is unsafe",
    ),
    "nothing printed": (
        {"config/fleet/files/app/a.j2": "{{ labels.get('rack') }}"},
        "a.j2:1: found nothing (None) where text is printed",
    ),
    "an address in memory within text": (
        {"config/fleet/files/app/a.j2": "a\n{{ 'x' ~ (labels.items() | map('first')) }}"},
        "a.j2: found <generator object sync_do_map at an address in memory>, in line 2 of the text, for board b01 and",
    ),
    "a Python object printed": (
        {"config/fleet/files/app/a.j2": "{{ cycler }}"},
        "a.j2:1: found a type where text is printed",
    ),
}


@pytest.mark.parametrize(("files", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_once_with_its_file_line_and_board(files: dict[str, str | bytes], says: str):
    found = [str(problem) for problem in problems(files)]
    assert len(found) == 1
    assert says in found[0]


def test_links_are_told_and_no_board_gets_what_they_lead_to():
    (problem,) = problems({"config/fleet/files/app/a": SourceFile(b"", 0o120000)})
    assert (problem.file, problem.found) == ("config/fleet/files/app/a", "a symbolic link")


def test_what_is_random_is_no_name_or_filter():
    assert "'lipsum'" in str(problems({"config/fleet/files/app/a.j2": "{{ lipsum() }}"})[0])
    assert "'random'" in str(problems({"config/fleet/files/app/a.j2": "{{ [1, 2] | random }}"})[0])


def test_types_differ_in_what_they_allow_and_each_is_told_for_its_boards():
    boards = BOARDS.replace("id: b03\n    type: files", "id: b03\n    type: bare")
    files = {
        "boards/all.yaml": boards,
        "config/fleet/files/net/x.conf": "x",
        "config/fleet/config.yaml": "check: [ping]\n",
    }
    found = [str(problem) for problem in problems(files)]
    assert len(found) == 2
    assert all("for board b03" in text and "type bare" in text for text in found)


def test_all_that_is_wrong_is_told_at_once_sorted_by_file():
    files = {files: text for mistake, _ in list(MISTAKES.values())[:2] for files, text in mistake.items()}
    files |= {"config/x": "", "config/fleet/config.yaml": "drift: x\n", "fleet.yaml": FLEET + "byte_budget: 1\n"}
    found = problems(files)
    assert [problem.file for problem in found] == [
        "config/fleet/config.yaml",
        "config/fleet/files/app/a.j2",
        "config/x",
        "fleet.yaml",
    ]


def test_a_flood_of_problems_is_cut_off_and_counted():
    found = problems({f"config/x{number:04}": "" for number in range(PROBLEMS_LIMIT + 7)})
    assert len(found) == PROBLEMS_LIMIT + 1
    assert found[-1].found == "7 more problems"


def test_bundles_beyond_the_limit_of_a_commit_are_told_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trees, "BUNDLES_LIMIT", 1000)
    files = {"config/fleet/files/app/a.j2": "{{ board }}" + "x" * 300}
    (problem,) = problems(files)
    assert (problem.file, problem.found) == ("config", "more than 1000 bytes of different bundles")
    assert not problems({"config/fleet/files/app/a.j2": "x" * 300}), "the same bundle counts once"


def test_of_many_names_that_are_unknown_only_the_first_are_compared_with_all_that_are_known():
    found = problems({f"config/boards/b0{letter}/config.yaml": "drift: heal\n" for letter in string.ascii_lowercase})
    hints = trees.HINTS_LIMIT
    assert [bool(problem.hint) for problem in found] == [True] * hints + [False] * (len(found) - hints)


JUNK = st.sampled_from(
    [
        "config/fleet/config.yaml",
        "config/fleet/files/app/a.j2",
        "config/boards/b01/files/app/a",
        "config/groups/canary/x",
    ]
)


@given(st.dictionaries(JUNK, st.binary(max_size=60) | st.text("{}% .|()[]'labels.for i in\n", max_size=60), min_size=1))
def test_any_bytes_give_bundles_or_named_problems(files: dict[str, str | bytes]):
    for problem in problems(files):
        assert problem.file in files or problem.file in {path.rpartition("/files/")[0] for path in files}
        assert str(problem).isprintable()

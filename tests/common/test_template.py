"""Range templates against expansions made by other means: bash itself, and products of formatted numbers."""

import contextlib
import itertools
import subprocess
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.errors import InvalidName, RequestError
from common.names import basename_of_link, normalize_object_name
from common.template import MAX_NAMES, InvalidTemplate, Template, first_collision, name_of, parse_template


@dataclass(frozen=True)
class Spelled:
    """A range as it is written, and what it must give."""

    text: str
    values: tuple[str, ...]


@st.composite
def spelled_ranges(draw: st.DrawFn, most: int = 12, highest: int = 120) -> Spelled:
    start = draw(st.integers(0, highest))
    step = draw(st.integers(1, 15))
    end = start + draw(st.integers(0, step * most - 1))
    first, last = (str(number).zfill(draw(st.integers(0, 5))) for number in (start, end))
    width = min(len(first), len(last))
    values = tuple(f"{number:0{width}d}" for number in range(start, end + 1, step))
    return Spelled(
        f"{{{first}..{last}}}" if step == 1 and draw(st.booleans()) else f"{{{first}..{last}..{step}}}", values
    )


LITERALS = st.text(st.characters(exclude_characters="{}%", exclude_categories=["Cs"]), max_size=6)


@st.composite
def templates(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A template's text and all its links in order, the last range fastest."""
    ranges = draw(st.lists(spelled_ranges(), min_size=1, max_size=3))
    literals = [draw(LITERALS) for _ in range(len(ranges) + 1)]
    text = literals[0] + "".join(r.text + literal for r, literal in zip(ranges, literals[1:], strict=True))
    links = [
        literals[0] + "".join(value + literal for value, literal in zip(values, literals[1:], strict=True))
        for values in itertools.product(*(r.values for r in ranges))
    ]
    return text, links


@given(templates())
def test_expansion_is_the_product_of_the_ranges(case: tuple[str, list[str]]) -> None:
    text, links = case
    template = parse_template(text)
    assert template.count == len(links)
    assert list(template.expand()) == links


@given(templates(), st.data())
def test_a_part_of_the_expansion_is_the_slice_of_the_whole(case: tuple[str, list[str]], data: st.DataObject) -> None:
    text, links = case
    begin = data.draw(st.integers(0, len(links) + 3))
    end = data.draw(st.integers(0, len(links) + 3) | st.none())
    assert list(parse_template(text).expand(begin, end)) == links[begin:end]


def test_the_same_as_bash() -> None:
    texts = [
        "o{1..3}",
        "o{0001..0010..3}x",
        "{8..12}",
        "{08..12}-{1..9..4}/{5..5}",
        "a{00..01}{00..03}.bin",
        "http://h/{1..11}{1..11}",
        "x{0..1000000..250000}y",
    ]
    script = "".join(f"printf '%s\\n' {text}; echo;" for text in texts)
    output = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    expected = [block.split("\n") for block in output.removesuffix("\n\n").split("\n\n")]
    assert [list(parse_template(text).expand()) for text in texts] == expected


def test_numbers_are_padded_to_the_shorter_spelling() -> None:
    assert list(parse_template("{1..010..9}").expand()) == ["1", "10"]
    assert list(parse_template("{08..10}").expand()) == ["08", "09", "10"]
    assert list(parse_template("{008..10}").expand()) == ["08", "09", "10"]


def test_ten_million_names_are_counted_and_reached_without_being_expanded() -> None:
    template = parse_template("http://h/{0000..9999}/{000..999}.bin")
    assert template.count == MAX_NAMES
    assert list(template.expand(MAX_NAMES - 2)) == ["http://h/9999/998.bin", "http://h/9999/999.bin"]
    assert next(template.expand(5_000_001)) == "http://h/5000/001.bin"


HINT = " (expecting e.g. 'prefix-{0001..0010..1}-suffix')"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "not a 'bash' template"),
        ("http://h/x", "not a 'bash' template"),
        ("http://h/o{1..2", "not a 'bash' template"),
        ("http://h/o1..2}", "not a 'bash' template"),
        ("o{1..2}}", "not a 'bash' template"),
        ("o{{1..2}", "not a 'bash' template"),
        ("o{a{1..2}b}", "not a 'bash' template"),
        ("o{1}", f"invalid 'bash' template \"o{{1}}\"{HINT}"),
        ("o{}", f"invalid 'bash' template \"o{{}}\"{HINT}"),
        ("o{1,2}", f"invalid 'bash' template \"o{{1,2}}\"{HINT}"),
        ("o{1..2..3..4}", f"invalid 'bash' template \"o{{1..2..3..4}}\"{HINT}"),
        ("o{9..1}", "invalid 'bash' template \"o{9..1}\": 'start' cannot be greater than 'end'"),
        ("o{-1..3}", "invalid 'bash' template \"o{-1..3}\": 'start' is negative"),
        ("o{1..3..0}", "invalid 'bash' template \"o{1..3..0}\": 'step' is non-positive"),
        ("o{1..3..-1}", "invalid 'bash' template \"o{1..3..-1}\": 'step' is non-positive"),
        ("o{a..b}", 'strconv.ParseInt: parsing "a": invalid syntax'),
        ("o{1..b}", 'strconv.ParseInt: parsing "b": invalid syntax'),
        ("o{1..2..c}", 'strconv.ParseInt: parsing "c": invalid syntax'),
        ("o{..2}", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("o{1..٣}", 'strconv.ParseInt: parsing "٣": invalid syntax'),
        ("o{1_0..20}", 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        ("o{0..9223372036854775808}", 'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        ("o{0.." + "9" * 5000 + "}", f'strconv.ParseInt: parsing "{"9" * 5000}": value out of range'),
        ("o{1..100000000}", "parsed-template: too many values (more than 10000000 max)"),
        ("o{0..10000000}", "parsed-template: too many values (more than 10000000 max)"),
        ("o{1..10001}{1..1000}", "parsed-template: too many values (more than 10000000 max)"),
        ("o{0..9223372036854775807}", "range [0..9223372036854775807..1] is too large to expand"),
        ("o{1..9223372036854775807}{1..2}", "combined ranges are too large to expand"),
        ("{1..99999999}" * 40, "combined ranges are too large to expand"),
        (
            "http://h/{1..11}%31{1..11}",
            "invalid 'bash' template \"http://h/{1..11}%31{1..11}\": a digit between ranges",
        ),
    ],
    ids=lambda text: str(text)[:40],
)
def test_refusals_say_why(text: str, error: str) -> None:
    with pytest.raises(InvalidTemplate) as refused:
        parse_template(text)
    assert refused.value.status == 400
    assert str(refused.value).startswith(error)


@given(st.text(alphabet="{}.0123456789+-ab", max_size=30))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = parse_template(text)
    except InvalidTemplate:
        return
    assert 0 < template.count <= MAX_NAMES
    assert next(template.expand()) == next(template.expand(0, 1))


# --- collisions ---


def _names(template: Template) -> dict[str, set[str]]:
    """Brute force: the links by the name that they give."""
    names: dict[str, set[str]] = {}
    for link in template.expand():
        name = basename_of_link(link)
        with contextlib.suppress(InvalidName):
            name = normalize_object_name(name)
        names.setdefault(name, set()).add(link)
    return names


PIECES = st.sampled_from(
    ["/", "//", "a", "a/b", "-", ".", "?", "?x=", "#", "%20", "%2F", "é", ":", "1", "/?", "/#/", "x://"]
)


@st.composite
def link_templates(draw: st.DrawFn) -> str:
    parts = draw(st.lists(PIECES | spelled_ranges(most=3, highest=13).map(lambda r: r.text), min_size=1, max_size=7))
    return "http://h/" + "".join(parts)


@given(link_templates())
def test_a_collision_is_found_exactly_when_there_is_one(text: str) -> None:
    try:
        template = parse_template(text)
    except RequestError:
        assume(False)
    names = _names(template)
    collision = first_collision(template)
    assert (collision is not None) == any(len(links) > 1 for links in names.values())
    if collision is not None:
        assert collision[0] != collision[1]
        assert any(set(collision) <= links for links in names.values())


@pytest.mark.parametrize(
    ("text", "collision"),
    [
        ("http://h/{1..2}/{1..3}", ("http://h/1/1", "http://h/2/1")),
        ("http://h/{1..2}/x", ("http://h/1/x", "http://h/2/x")),
        ("http://h/x?v={1..2}", ("http://h/x?v=1", "http://h/x?v=2")),
        ("http://h/x#{1..2}", ("http://h/x#1", "http://h/x#2")),
        ("http://h{1..2}/x{1..2}", ("http://h1/x1", "http://h2/x1")),
        ("http://h/{1..2}/", None),
        ("http://h/{1..2}/?q=/", None),
        ("http://h/{7..7}/{1..3}", None),
        ("http://h/{1..11}{1..11}", None),
        ("http://h/d/x{1..9}.bin?token=a/b", None),
    ],
)
def test_collisions_by_example(text: str, collision: tuple[str, str] | None) -> None:
    assert first_collision(parse_template(text)) == collision


def test_collisions_of_ten_million_names_are_found_by_arithmetic() -> None:
    text = "http://h/{0000..9999}/{000..999}.bin"
    assert first_collision(parse_template(text)) == ("http://h/0000/000.bin", "http://h/0001/000.bin")
    assert first_collision(parse_template("http://h/{0000000..9999999}.bin")) is None


def test_name_of_a_link_is_its_last_component() -> None:
    assert name_of("http://h/a/b.bin?x=/y#/z") == "b.bin"


@pytest.mark.parametrize(
    "text", ["http://u:planted@h/x{9..1}?planted", "http://h/x{1}#planted", "http://h/?{planted..2}"]
)
def test_refusals_do_not_tell_secrets(text: str) -> None:
    with pytest.raises(InvalidTemplate) as refusal:
        parse_template(text)
    assert "planted" not in str(refusal.value)

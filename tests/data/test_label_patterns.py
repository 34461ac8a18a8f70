from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulacra.data.label_patterns import parts_of
from simulacra.ground.errors import DataError, UsageError


def label_of(pattern: str, name: str) -> str:
    return parts_of(pattern, name)["label"]


WORDS = st.text(st.characters(exclude_characters="_"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "name", "label"),
    [
        ("{label}", "new_york", "new_york"),
        ("{label}_*", "0_george_12", "0"),
        ("{label}_*", "cat_", "cat"),
        ("*_{label}_*", "0_george_12", "george"),
        ("*_{label}_*", "a_b_c_d", "b"),
        ("*_{label}", "0_george_12", "12"),
        ("img*-{label}.*", "img0012-cat.left", "cat"),
        ("x{label}y", "xcaty", "cat"),
        ("**_{label}", "a_b", "b"),
        ("[{label}]*", "[a.c] (1)", "a.c"),
        ("{label}+*", "多+1", "多"),
        ("{label}_*", "two\nlines_1", "two\nlines"),
    ],
)
def test_a_label_is_read_from_a_name(pattern: str, name: str, label: str) -> None:
    assert label_of(pattern, name) == label


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{label}_*", "cat"),
        ("{label}_*", "_1"),
        ("a.{label}", "abc"),
        ("{label}_1", "cat_1b"),
        ("{label}_1", "CAT_2"),
        ("img{label}", "a img1"),
        ("{label}", ""),
    ],
)
def test_a_name_that_does_not_fit_is_named(pattern: str, name: str) -> None:
    with pytest.raises(DataError, match="does not fit") as caught:
        label_of(pattern, name)
    assert repr(name) in str(caught.value)
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*_1", "once"),
        ("", "once"),
        ("{label}_{label}", "once"),
        ("{digit}_{digit}_{label}", "each part once"),
        ("{digit}{label}", "a character between"),
        ("{digit}_{*}", "named by a word"),
        ("{digit}_{a b}", "named by a word"),
        ("{digit}_}", "braces around"),
        ("{label}*", "a character between"),
        ("*{label}_1", "a character between"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        label_of(pattern, "cat_1")


@settings(deadline=None, database=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.data())
def test_any_part_between_underscores_can_be_the_label(
    words: list[str], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(words) - 1))
    pattern = "_".join("{label}" if i == at else "*" for i in range(len(words)))
    assert label_of(pattern, "_".join(words)) == words[at]


@settings(deadline=None, database=None)
@given(
    st.text(st.characters(exclude_characters="*{}/"), max_size=8),
    st.text(st.characters(exclude_characters="*{}/"), max_size=8),
    st.text(min_size=1, max_size=8),
)
def test_what_is_no_star_stands_for_itself(before: str, after: str, label: str) -> None:
    if set(label) & set(before[-1:] + after[:1]):
        label = "".join(c for c in label if c not in before[-1:] + after[:1])
    if label:
        assert label_of(f"{before}{{label}}{after}", before + label + after) == label

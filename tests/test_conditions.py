"""The grammar of conditions: what is written is what is read, and what cannot be read is said in a sentence."""

import datetime
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from variate import UserError
from variate.data.conditions import Condition, Span, names_of, of_mapping, parse, spell

ADULT = ["age", "income", "sex", "label"]
ANY = st.text(alphabet="ab.,|=<>!\"'’ \n0é", max_size=6)
NAMES = st.text(alphabet="ab, ='", min_size=1, max_size=4).filter(str.strip).map(str.strip)
ITEMS = st.one_of(ANY, st.builds(Span, ANY, ANY))


@st.composite
def written(draw) -> tuple[list[str], list[Condition]]:
    """Names of which none reads as another with an operator behind it, and conditions on some of them."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    assume(not any(re.match(rf"{re.escape(a)}\s*[=<>!]", b) for a in names for b in names))
    conditions = [draw(condition(name)) for name in draw(st.permutations(names))[: draw(st.integers(1, 4))]]
    return names, conditions


def condition(name: str) -> st.SearchStrategy[Condition]:
    one = st.builds(Condition, st.just(name), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.tuples(ANY))
    ends = st.builds(Condition, st.just(name), st.just(".."), st.tuples(ANY, ANY))
    several = st.lists(ITEMS, min_size=2, max_size=4).map(tuple)
    return st.one_of(one, ends, st.builds(Condition, st.just(name), st.just("in"), several))


@given(written())
def test_what_is_spelled_is_read(case):
    names, conditions = case
    assert parse(spell(conditions), names) == tuple(conditions)
    assert parse(spell(conditions), [*names, "label"]) == tuple(conditions)


@given(NAMES, ANY, st.lists(st.text(" \t", max_size=2), min_size=4, max_size=4))
def test_blanks_around_names_and_values_mean_nothing(name, value, blanks):
    asked = Condition(name, "=", (value,))
    parts = zip(blanks, [name, "=", spell([asked]).removeprefix(f"{name}="), ""], strict=True)
    assert parse("".join(map("".join, parts)), [name]) == (asked,)


@given(st.text(max_size=12), st.lists(NAMES, max_size=3))
def test_any_text_is_read_or_refused_in_a_sentence(text, names):
    try:
        found = parse(text, [*names, "label"])
    except UserError as refusal:
        assert str(refusal).endswith(".") and len(str(refusal)) < 400
    else:
        assert found and all(isinstance(each, Condition) for each in found)


@given(st.dictionaries(st.sampled_from(ADULT), st.lists(ANY, min_size=1, max_size=3), min_size=1))
def test_lists_are_taken_as_they_are(mapping):
    assert parse(spell(of_mapping(mapping, ADULT)), ADULT) == of_mapping(mapping, ADULT)
    for (name, values), found in zip(mapping.items(), of_mapping(mapping, ADULT), strict=True):
        assert found == Condition(name, "in" if len(values) > 1 else "=", tuple(values))


READ = {
    "sex=Female": [("sex", "=", "Female")],
    "sex=Female,age>=40": [("sex", "=", "Female"), ("age", ">=", "40")],
    "income=<=50K": [("income", "=", "<=50K")],
    "income=<=50K, age<=50": [("income", "=", "<=50K"), ("age", "<=", "50")],
    "income!=>50K": [("income", "!=", ">50K")],
    "age>30,age<=40": [("age", ">", "30"), ("age", "<=", "40")],
    "age=20..30": [("age", "..", "20", "30")],
    "age=-20..-1.5": [("age", "..", "-20", "-1.5")],
    "age=0...5": [("age", "..", "0", ".5")],
    "sex=a|'b|c'": [("sex", "in", "a", "b|c")],
    "age=1|4..5": [("age", "in", "1", Span("4", "5"))],
    'sex="a, ""b""",age=3': [("sex", "=", 'a, "b"'), ("age", "=", "3")],
    "sex='it''s'": [("sex", "=", "it's")],
    "sex=O'Hara": [("sex", "=", "O'Hara")],
    'sex=""': [("sex", "=", "")],
    "0..9": [("label", "..", "0", "9")],
    "label=0..9": [("label", "..", "0", "9")],
    "1,3": [("label", "in", "1", "3")],
    "1, 4..5": [("label", "in", "1", Span("4", "5"))],
    "cat,dog": [("label", "in", "cat", "dog")],
    "cat|dog": [("label", "in", "cat", "dog")],
    "cat": [("label", "=", "cat")],
    "'a,b',c": [("label", "in", "a,b", "c")],
    "'a=b',c": [("label", "in", "a=b", "c")],
    "<=50K,>50K": [("label", "in", "<=50K", ">50K")],
}


@pytest.mark.parametrize("text", READ)
def test_what_people_write(text):
    assert parse(text, ADULT) == tuple(Condition(name, op, tuple(values)) for name, op, *values in READ[text])


def test_of_several_names_the_longest_counts():
    names = ["age", "age group", "age>1", "a,b"]
    assert parse("age group=3,age=4", names) == (Condition("age group", "=", ("3",)), Condition("age", "=", ("4",)))
    assert parse("age>1=2", names) == (Condition("age>1", "=", ("2",)),)
    assert parse("age>1", names) == (Condition("age", ">", ("1",)),)
    assert parse("a,b=2", names) == (Condition("a,b", "=", ("2",)),)
    assert parse("age group", [*names, "label"]) == (Condition("label", "=", ("age group",)),)


REFUSED = {
    "agee=3": "'agee', did you mean 'age'",
    "hight<3,sex=x": "'hight'",
    "sex=Female,40": "'40' has no operator",
    "label=1,3": "'3' has no operator.* NAME=a|b",
    "sex=Female,": "a condition is missing",
    "sex=": "sex= lacks a value",
    "sex=,age=3": "sex= lacks a value",
    "sex=a||b": "sex= lacks a value",
    "age=3..": "age= lacks a value",
    "age=..3": "age= lacks a value",
    "age=1..2..3": "more than two ends",
    "age>=1|2": "age>= takes one value",
    "age<1..2": "age< takes one value",
    "sex='Female": "sex= has a quote that is not closed",
    "sex=\"a'": "sex= has a quote that is not closed",
    "sex='a'b": "goes on after a quoted value, with 'b'",
    "sex=a,sex=b": r"sex is given twice.* sex=a\|b",
    "age=1..3,age=5": r"age is given twice.* age=1\.\.3\|5",
    "": "lacks a value",
    "1,,2": "lacks a value",
    "'a,b": "not closed",
    "age=3,=4": "no name before =",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_named(text):
    with pytest.raises(UserError, match=REFUSED[text]):
        parse(text, ADULT)


def test_without_labels_a_bare_list_is_no_condition():
    with pytest.raises(UserError, match="'0..9' has no operator"):
        parse("0..9", ["age"])
    with pytest.raises(UserError, match="a condition is missing"):
        parse("", ["age"])


def test_python_says_the_same_in_a_mapping():
    given = {"sex": "Female", "age": (">=", 40), "income": "=<=50K", "label": [1, np.int64(3), 4.5]}
    assert spell(of_mapping(given, ADULT)) == 'sex=Female,age>=40,income="<=50K",label=1|3|4.5'
    both = [of_mapping({"age": value}, ADULT) for value in (">=40", (">=", 40), (">=", "40"), ">= 40")]
    assert set(both) == {(Condition("age", ">=", ("40",)),)}
    assert of_mapping({"age": "20..30"}, ADULT) == of_mapping({"age": ("..", 20, 30)}, ADULT)
    assert of_mapping({"age": "20..30"}, ADULT) == parse("age=20..30", ADULT)
    assert of_mapping({"age": range(3)}, ADULT) == of_mapping({"age": "0|1|2"}, ADULT)
    assert of_mapping({"sex": "Ulm, Donau"}, ADULT) == (Condition("sex", "=", ("Ulm, Donau",)),)
    assert of_mapping({"sex": ("=", "a|b")}, ADULT) == of_mapping({"sex": ["a|b"]}, ADULT) == parse('sex="a|b"', ADULT)
    assert of_mapping({"age": datetime.date(2026, 1, 2)}, ADULT) == parse("age=2026-01-02", ADULT)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agee": 3}, "'agee', did you mean 'age'"),
        ({"age": None}, "age is given no value"),
        ({"age": float("nan")}, "age is given no value"),
        ({"age": []}, "age is given 0 values"),
        ({"age": ("<", 1, 2)}, "age is given 2 values with '<': give one"),
        ({"age": ("..", 1)}, r"age is given 1 values with '\.\.': give two"),
        ({"age": ""}, "age= lacks a value"),
    ],
    ids=str,
)
def test_a_mapping_that_says_nothing_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        of_mapping(given, ADULT)


def test_names_of_what_is_given():
    assert names_of("sex, age") == names_of(("sex", "age")) == names_of(["sex", "age "]) == ("sex", "age")
    for wrong in (True, 3, "", "a,,b", ["a", 3], {"label": 3}, "a,a"):
        with pytest.raises(UserError, match="^given="):
            names_of(wrong)

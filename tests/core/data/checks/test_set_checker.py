from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.data.checks.set_checker import KEPT_LINES, SetChecker, SetFacts, leak_problems
from core.data.conversation import Example, Message
from core.errors import Problem
from tests.core.data.checks.test_conversations import example
from tests.core.data.checks.test_similarity import ENGLISH, unrelated

GOOD = [
    example(line, f"user: {question}", f"assistant: {answer}")
    for line, (question, answer) in enumerate(unrelated(40), start=1)
]


def facts_of(examples: Sequence[Example]) -> SetFacts:
    checker = SetChecker()
    for each in examples:
        checker.add(each)
    return checker.finish()


def told(examples: Sequence[Example]) -> list[tuple[str, object, object]]:
    """Key, count and rows of the problems of a set."""
    problems = facts_of(examples).problems
    for problem in problems:
        assert problem.severity == "warning"
        assert "{" not in str(problem.describe("en")) + str(problem.describe("zh"))
    return [(problem.key, problem.values["count"], problem.values.get("rows")) for problem in problems]


def moved(each: Example, line: int) -> Example:
    return Example(each.messages, line)


def test_good_examples_have_no_problems() -> None:
    checker = SetChecker()
    assert [problem for each in GOOD for problem in checker.add(each)] == []
    facts = checker.finish()
    assert facts.problems == ()
    assert facts.groups.tolist() == list(range(40))
    assert {name: drops.tolist() for name, drops in facts.drops.items()} == {
        "drop_contradictions": [],
        "drop_duplicates": [],
        "drop_near_duplicates": [],
    }


def test_an_example_has_the_problems_of_its_shape_and_of_its_words() -> None:
    problems = SetChecker().add(example(7, "user: q", "user: <s>", "assistant: a"))
    assert [(problem.key, problem.place.line) for problem in problems] == [
        ("D26_same_role_twice", 7),
        ("D29_special_tokens", 7),
    ]


def test_equal_rows_are_counted_and_share_a_group() -> None:
    facts = facts_of([*GOOD, moved(GOOD[3], 41), moved(GOOD[3], 42)])
    assert told([*GOOD, moved(GOOD[3], 41), moved(GOOD[3], 42)]) == [("D31_duplicates", 2, (41, 42))]
    assert facts.groups[[3, 40, 41]].tolist() == [3, 3, 3]
    assert facts.drops["drop_duplicates"].tolist() == [40, 41]


def test_what_equal_means_is_what_the_key_of_an_example_says() -> None:
    asked, answer = GOOD[0].messages
    variants = [
        Example((asked, answer), 1),
        Example((asked, Message(**{**answer, "trained": False})), 2),
        Example((asked, answer), 3, tools=({"name": "f"},)),
        Example((asked, answer), 4, label=True),
        Example((asked, answer), 5, rejected=answer),
        Example((asked,), 6, text=answer["content"]),
        Example((asked, Message(content=answer["content"], role="assistant")), 7, 9, "elsewhere"),
    ]
    equal = [[one.key == other.key for other in variants] for one in variants]
    groups = facts_of(variants).groups
    exact = [[int(one) == int(other) for other in groups] for one in groups]
    assert equal[0] == [True, False, False, False, False, False, True]
    assert facts_of(variants).drops["drop_duplicates"].tolist() == [6]
    assert exact[0][6]


def test_a_set_of_equal_rows_is_said_to_be_one() -> None:
    rows = [moved(GOOD[0], line) for line in range(1, 21)]
    assert told(rows) == [("D31_all_equal", 19, tuple(range(2, 21)))]


def test_nearly_equal_rows_are_counted_and_share_a_group_with_equals_of_both() -> None:
    one = example(50, f"user: {ENGLISH}", "assistant: Gladly, here it is.")
    near = example(51, f"user: {ENGLISH.replace('beginner', 'child')}", "assistant: Gladly, here it is.")
    rows = [*GOOD, one, near, moved(near, 52), moved(one, 53)]
    facts = facts_of(rows)
    assert [(problem.key, problem.values["rows"]) for problem in facts.problems] == [
        ("D31_duplicates", (52, 53)),
        ("D31_near_duplicates", (51, 52)),
    ]
    assert facts.groups[40:].tolist() == [40, 40, 40, 40]
    assert facts.drops["drop_near_duplicates"].tolist() == [41, 42]


def test_a_chain_of_nearly_equal_rows_is_one_group_but_drops_only_what_is_near_a_kept_row() -> None:
    from core.data.checks.set_checker import _near

    leaders, groups = _near(np.arange(4), [(0, 1), (1, 2)])
    assert leaders.tolist() == [0, 0, 2, 3]
    assert groups.tolist() == [0, 0, 0, 3]


def test_different_answers_to_one_question_are_told_with_the_line_they_contradict() -> None:
    other = example(41, f"user:  {GOOD[4].messages[0]['content']} ", "assistant: Quite another answer than that.")
    assert told([*GOOD, other]) == [("D51_contradictions", 1, (41,))]
    assert facts_of([*GOOD, other]).problems[0].values["lines"] == "41 ≠ 5"
    assert facts_of([*GOOD, other]).drops["drop_contradictions"].tolist() == [40]


@pytest.mark.parametrize("context", ["system: You are a pirate.", "user: Hello.", "assistant: Hello."])
def test_a_question_in_another_context_is_another_question(context: str) -> None:
    question = f"user: {GOOD[4].messages[0]['content']}"
    said = [context, question] if context.startswith("system") else ["user: x", "assistant: y", context, question]
    assert told([*GOOD, example(41, *said, "assistant: Quite another answer than that.")]) == []


def test_an_answer_given_to_many_questions_is_told() -> None:
    lazy = [
        example(line, f"user: {question}", "assistant: Sorry, I cannot help you with that.")
        for line, (question, _) in enumerate(unrelated(60)[40:], start=41)
    ]
    assert told([*GOOD, *lazy]) == [("D50_same_answer", 20, tuple(range(41, 61)))]
    assert told([*GOOD, *lazy[:5]]) == []


def test_labels_are_no_identical_answers_unless_nearly_all_rows_have_one() -> None:
    def rated(labels: Sequence[str]) -> list[Example]:
        asked = [question for question, _ in unrelated(len(labels))]
        return [
            example(line, f"user: {question}", f"assistant: {label}")
            for line, (question, label) in enumerate(zip(asked, labels, strict=True), start=1)
        ]

    assert told(rated(["good", "bad"] * 20)) == []
    assert [key for key, *_ in told(rated(["good"] * 39 + ["bad"]))] == ["D50_same_answer"]


def test_single_rows_in_another_script_are_told() -> None:
    stranger = example(41, "user: Как вас зовут, скажите?", "assistant: Меня зовут Иван.")
    (problem,) = facts_of([*GOOD, stranger]).problems
    assert (problem.key, problem.values["rows"], problem.values["scripts"]) == ("D49_language_mix", (41,), "АБВ 1")
    assert problem.values["main"] == "ABC"
    assert told([*GOOD, stranger]) == [("D49_language_mix", 1, (41,))]


@pytest.mark.parametrize(
    "said",
    [
        ("user: 把这句话翻译成英语：我很高兴认识你", "assistant: I am very happy to know you."),  # a translation
        ("user: 1 + 1", "assistant: 2"),  # no letters
    ],
)
def test_rows_with_something_of_the_main_script_or_no_letters_are_no_strangers(said: tuple[str, ...]) -> None:
    assert told([*GOOD, example(41, *said)]) == []


def test_a_set_in_two_languages_is_no_mistake() -> None:
    second = [
        example(40 + index, f"user: {question}", f"assistant: {answer}")
        for index, (question, answer) in enumerate(unrelated(20, "абвгдежзиклмнопрст"), start=1)
    ]
    assert told([*GOOD, *second]) == []


@pytest.mark.parametrize(("count", "expected"), [(1, ["D33_few_rows"]), (9, ["D33_few_rows"]), (10, []), (0, [])])
def test_very_few_rows_are_a_warning(count: int, expected: list[str]) -> None:
    assert [problem.key for problem in facts_of(GOOD[:count]).problems] == expected


def test_a_long_list_of_lines_is_shortened_in_words_and_bounded_in_values() -> None:
    checker = SetChecker()
    for line in range(1, KEPT_LINES + 30):
        checker.add(Example((), line, text="The same short text again."))
    (problem,) = checker.finish().problems
    assert problem.values["count"] == KEPT_LINES + 28
    assert len(problem.values["rows"]) == KEPT_LINES
    assert problem.values["lines"].endswith("20 = 1, 21 = 1 …")


def test_rows_in_training_and_validation_are_told_by_their_lines_in_the_latter() -> None:
    held_out = [example(1, "user: new", "assistant: a"), moved(GOOD[5], 2), moved(GOOD[9], 3)]
    (problem,) = leak_problems(GOOD, held_out)
    assert (problem.key, problem.values["count"], problem.values["rows"]) == ("D32_rows_in_both", 2, (2, 3))
    assert "2 of 3" in problem.describe("en").what
    assert leak_problems(GOOD, held_out[:1]) == leak_problems(GOOD, []) == leak_problems([], held_out) == []


def test_little_is_kept_of_an_example() -> None:
    checker = SetChecker()
    for line in range(2000):
        checker.add(Example((Message(role="user", content=f"q{line}"), Message(role="assistant", content="a")), line))
    kept = [value for value in vars(checker).values() if hasattr(value, "itemsize")]
    assert sum(each.itemsize for each in kept) <= 40
    assert all(len(each) == 2000 for each in kept)


def test_problems_are_in_words_of_both_languages() -> None:
    odd = [
        example(1, "user: q\ufffd <s> \u200b cafÃ©", "system: s", "tool: t", "user: r", "user: r", "assistant:  a"),
        example(2, "assistant: a"),
        example(3, "user: q"),
        example(4, "user: q", "assistant: a", "user: "),
        example(5, "user: Mail lin@acme-labs.cn today", "assistant: Mail lin@acme-labs.cn today"),
        Example((*GOOD[0].messages[:1], Message(role="assistant", content="a", trained=False)), 6, label=True),
        Example(GOOD[0].messages, 7, rejected=GOOD[0].messages[1]),
    ]
    checker = SetChecker()
    problems: list[Problem] = [problem for each in odd for problem in checker.add(each)]
    assert {problem.key for problem in problems} == {
        "D05_garbled_text",
        "D05_lost_characters",
        "D21_kto_data",
        "D21_preference_data",
        "D22_nothing_visible",
        "D22_spaces_around",
        "D26_same_role_twice",
        "D26_system_inside",
        "D26_tool_result_unasked",
        "D27_answer_first",
        "D27_ends_without_answer",
        "D27_no_answer",
        "D27_nothing_trained",
        "D29_special_tokens",
        "D46_invisible_characters",
        "D47_answer_in_question",
        "D48_personal_data",
    }
    for problem in problems:
        for lang in ("en", "zh"):
            said = problem.describe(lang)  # type: ignore[arg-type]
            assert said.what and said.why and said.fix
            assert "{" not in str(said)


def test_a_nearly_equal_row_is_no_contradiction() -> None:
    one = example(50, f"user: {ENGLISH}", f"assistant: {GOOD[0].messages[1]['content']}")
    near = example(51, f"user: {ENGLISH}", f"assistant: {GOOD[0].messages[1]['content']} indeed")
    assert [key for key, *_ in told([*GOOD, one, near])] == ["D31_near_duplicates"]

"""What is wrong with conversations, or will disappoint: every problem at once, each with its line.

Owns the questions asked of examples before anything is loaded, and the placeholders in their text. A problem of
severity "error" means that the example cannot be trained; a warning, that the person should know. What only a tokenizer
or a template can tell (lengths, refusals) is found by `rendering.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from core.data.conversation import Example, Message
from core.errors import SHOWN_PROBLEMS, Place, Problem, excerpt

FEW_ROWS = 10
_PLACEHOLDER = re.compile(r"\{\{\s*([^\W\d][\w.-]*)\s*\}\}")
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")


def check_examples(examples: Sequence[Example]) -> list[Problem]:
    """All problems of the examples as conversations and as a set."""
    problems = [problem for example in examples for problem in _order_problems(example)]
    return [*problems, *_unanswered(examples), *_special_tokens(examples), *_duplicates(examples), *_few(examples)]


def can_be_trained(example: Example) -> bool:
    """Whether the example has an answer, with something asked before it."""
    return all(problem.severity == "warning" for problem in _order_problems(example))


def placeholders(examples: Iterable[Example]) -> dict[str, int]:
    """Names in double braces (`{{name}}`), and in how many rows each stands."""
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update({name for message in example.messages for name in _PLACEHOLDER.findall(message["content"])})
    return dict(counts.most_common())


def filled(example: Example, values: Mapping[str, str]) -> Example:
    """The example with the placeholders that have a value replaced by it."""

    def value(found: re.Match[str]) -> str:
        return values.get(found.group(1), found.group())

    return Example(
        tuple(
            Message(role=said["role"], content=_PLACEHOLDER.sub(value, said["content"])) for said in example.messages
        ),
        example.line,
    )


def placeholder_problems(found: Mapping[str, int], values: Mapping[str, str]) -> list[Problem]:
    """A warning for each placeholder without a value, and for each value whose placeholder is not in the file."""
    missing = [
        Problem("D29_placeholder_unfilled", values={"name": name, "count": count}, severity="warning")
        for name, count in found.items()
        if name not in values
    ]
    unknown = [
        Problem(
            "D29_placeholder_unknown",
            values={"name": excerpt(name), "known": ", ".join(found) or "–"},
            severity="warning",
        )
        for name in values
        if name not in found
    ]
    return missing + unknown


def _order_problems(example: Example) -> list[Problem]:
    """D26 and D27: roles in an order from which nothing, or not everything, can be learned."""
    roles = [message["role"] for message in example.messages]
    if "assistant" not in roles:
        return [Problem("D27_no_answer", Place(line=example.line))]
    first = next((index for index, role in enumerate(roles) if role != "system"), 0)
    if roles[first] == "assistant":
        return [Problem("D27_answer_first", Place(line=example.line, field=f"messages[{first}]"))]
    problems = []
    for index, (before, role) in enumerate(pairwise(roles), start=1):
        place = Place(line=example.line, field=f"messages[{index}]")
        if role == "system":
            problems.append(Problem("D26_system_inside", place, severity="warning"))
        elif role == before and role in ("user", "assistant"):
            problems.append(Problem("D26_same_role_twice", place, {"role": role}, "warning"))
    return problems


def _unanswered(examples: Sequence[Example]) -> list[Problem]:
    """D27 for conversations that go on after their last answer: what follows it is left out."""
    lines = [
        example.line for example in examples if can_be_trained(example) and example.messages[-1]["role"] != "assistant"
    ]
    return _counted("D27_ends_without_answer", lines)


def _special_tokens(examples: Sequence[Example]) -> list[Problem]:
    lines, seen = [], Counter[str]()
    for example in examples:
        tokens = {token for message in example.messages for token in _SPECIAL_TOKEN.findall(message["content"])}
        seen.update(tokens)
        lines += [example.line] if tokens else []
    return _counted("D29_special_tokens", lines, tokens=", ".join(excerpt(token) for token, _ in seen.most_common(5)))


def _duplicates(examples: Sequence[Example]) -> list[Problem]:
    seen: set[tuple[tuple[str, str], ...]] = set()
    lines = []
    for example in examples:
        lines += [example.line] if example.key in seen else []
        seen.add(example.key)
    return _counted("D31_duplicates", lines, total=len(examples))


def _few(examples: Sequence[Example]) -> list[Problem]:
    if not 0 < len(examples) < FEW_ROWS:
        return []
    return [Problem("D33_few_rows", values={"count": len(examples)}, severity="warning")]


def _counted(key: str, lines: list[int], **values: object) -> list[Problem]:
    """One warning for many rows: how many, the first lines, and the first as its place."""
    if not lines:
        return []
    shown = ", ".join(map(str, lines[:SHOWN_PROBLEMS])) + (" …" if len(lines) > SHOWN_PROBLEMS else "")
    return [Problem(key, Place(line=lines[0]), {"count": len(lines), "lines": shown, **values}, "warning")]

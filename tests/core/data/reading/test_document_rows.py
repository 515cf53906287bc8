from __future__ import annotations

import pytest

from core.data.reading import document_rows, texts
from tests.core.data.reading.reading import read


@pytest.mark.parametrize("name", ["story.txt", "story.md", "story"])
def test_a_text_is_one_row_with_the_line_it_begins_on(write, name: str) -> None:
    rows, problems = read(write("\r\n\n# Once\r\n\r\nupon a time.\n\n", name))
    assert [(row.line, row.values) for row in rows] == [(3, {"text": "# Once\n\nupon a time."})]
    assert problems == []


def test_a_long_text_is_cut_at_blank_lines_and_nothing_is_lost(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_rows, "MAX_ROW_CHARACTERS", 1000)
    monkeypatch.setattr(texts, "CHUNK_BYTES", 300)
    paragraphs = [f"Paragraph {number}.\n" + "word " * 20 for number in range(100)]
    rows, _ = read(write("\n\n".join(paragraphs), "book.txt"))
    assert "\n\n".join(row.values["text"] for row in rows) == "\n\n".join(paragraphs)
    assert all(500 <= len(row.values["text"]) <= 1000 for row in rows[:-1])
    lines = "\n\n".join(paragraphs).split("\n")
    assert all(lines[row.line - 1] == row.values["text"].split("\n")[0] for row in rows)


def test_a_long_text_without_blank_lines_is_cut_at_lines_else_anywhere(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_rows, "MAX_ROW_CHARACTERS", 100)
    for content in ("a line\n" * 100, "x" * 1000):
        rows, _ = read(write(content, "book.txt"))
        assert sum(len(row.values["text"].replace("\n", "")) for row in rows) == len(content.replace("\n", ""))
        assert len(rows) > 5
        assert all("a li\n" not in row.values["text"] for row in rows)

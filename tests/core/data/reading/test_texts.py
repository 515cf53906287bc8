from __future__ import annotations

import pytest

from core.data.reading import texts
from core.data.reading.streams import open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import ROW, keys, read

CHINESE = "中医认为，感冒是外邪侵袭人体所致的常见病。治疗时要分清风寒和风热，不能都用一个方子。"
JAPANESE = "漢方医学では風邪は外から来るものと考えられています。治療の前に種類を見分けることが大切です。"
KOREAN = "한의학에서는 감기를 밖에서 들어온 나쁜 기운이 일으킨 흔한 병으로 봅니다."
RUSSIAN = "Простуда считается обычной болезнью, которую вызывает холод."


def lines(text: str) -> str:
    return "".join(f'{{"instruction": "{number}", "output": "{text}"}}\n' for number in range(1, 31))


@pytest.mark.parametrize(
    ("content", "expected", "encoding"),
    [
        (b"\xef\xbb\xbf" + ROW.encode(), [], "utf-8"),
        (ROW.encode("utf-16"), ["D03_decoded"], "utf-16-le"),
        (b"\xfe\xff" + ROW.encode("utf-16-be"), ["D03_decoded"], "utf-16-be"),
        (ROW.encode("utf-16-le"), ["D03_decoded"], "utf-16-le"),
        (ROW.encode("utf-16-be"), ["D03_decoded"], "utf-16-be"),
        (ROW.encode("utf-32"), ["D03_decoded"], "utf-32-le"),
        (f"{ROW}\n\ufeff{ROW}", ["D02_mark_inside"], "utf-8"),
        (f"\ufeff\ufeff{ROW}", ["D02_mark_inside"], "utf-8"),
    ],
)
def test_byte_order_marks_are_taken_off_and_encodings_noted(write, content, expected: list[str], encoding: str) -> None:
    file = write(content)
    rows, problems = read(file)
    assert {tuple(row.values.items()) for row in rows} == {(("instruction", "a"), ("output", "b"))}
    assert keys(problems) == expected
    with open_rows(file) as stream:
        assert stream.container.encoding == encoding


def test_a_mark_inside_a_text_is_the_persons_own(write) -> None:
    rows, problems = read(write('{"a": "x\ufeffy"}'))
    assert (rows[0].values["a"], problems) == ("x\ufeffy", [])


def test_chinese_in_gb18030_is_read_and_said_with_the_first_of_it(write) -> None:
    content = f"{ROW}\n{lines(CHINESE)}".encode("gb18030")
    rows, problems = read(write(content, "data.jsonl"))
    assert [row.values["output"] for row in rows] == ["b", *[CHINESE] * 30]
    assert keys(problems) == ["D04_read_as"]
    assert (problems[0].place.line, problems[0].severity) == (2, "warning")
    assert problems[0].place.excerpt.startswith("中医认为")


def test_chinese_that_comes_late_is_read_too(write) -> None:
    content = (f"{ROW}\n" * 60_000).encode() + f'{{"instruction": "中医", "output": "{CHINESE}"}}'.encode("gb18030")
    file = write(content, "data.jsonl")
    assert len(content) > 2 * texts.CHUNK_BYTES
    rows, problems = read(file)
    assert (len(rows), rows[-1].values["output"], keys(problems)) == (60_001, CHINESE, ["D04_read_as"])
    assert problems[0].place.line == 60_001


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (KOREAN, "euc-kr"),
        (RUSSIAN, "windows-1251"),
        ("Un café très cher, à côté.", "windows-1252"),
        ("中醫認為，感冒是外邪侵襲人體所致的常見病。", "big5"),
    ],
)
def test_no_other_encoding_is_taken_for_chinese_but_asked_for(write, text: str, encoding: str) -> None:
    content = lines(text).encode(encoding)
    file = write(content, "data.jsonl")
    with pytest.raises(WorkbenchError) as caught:
        read(file)
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.values["guess"]) == ("D04_not_utf8", 1, encoding.upper())
    assert text[:20] in problem.place.excerpt
    assert problem.values["byte"] < content.index(b"\n")
    assert "encoding" in problem.describe("en").fix
    rows, problems = read(file, encoding)
    assert (rows[0].values["output"], len(rows), problems) == (text, 30, [])


def test_a_wrong_byte_is_named_with_its_place_and_what_the_line_would_be(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(b"prompt,completion\na,caf\xe9\n", "latin.csv"))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.values["byte"]) == ("D04_not_utf8", 2, 23)
    assert problem.place.excerpt.startswith("a,caf")


@pytest.mark.parametrize("late", [False, True])
def test_a_file_joined_of_two_encodings_is_refused_at_the_seam(write, late: bool) -> None:
    first = (lines(CHINESE) * (600 if late else 1)).encode()
    assert (len(first) > 2 * texts.CHUNK_BYTES) == late
    with pytest.raises(WorkbenchError) as caught:
        read(write(first + '{"a": "中医"}\n'.encode("gb18030"), "mixed.jsonl"))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line) == ("D05_mixed_encodings", first.count(b"\n") + 1)
    assert problem.values["byte"] == len(first) + len('{"a": "')


def test_one_line_of_utf8_before_many_others_is_enough_to_refuse_them(write) -> None:
    first = '{"a": "中医"}\n'.encode()
    assert first.decode("gb18030")  # it could be taken for that
    with pytest.raises(WorkbenchError) as caught:
        read(write(first + lines(CHINESE).encode("gb18030") * 10, "mixed.jsonl"))
    assert (caught.value.key, caught.value.problems[0].place.line) == ("D05_mixed_encodings", 2)


def test_what_is_to_be_said_of_the_text_comes_before_its_rows(write) -> None:
    with open_rows(write(lines(CHINESE).encode("gb18030"), "data.jsonl")) as stream:
        assert getattr(next(stream), "key", None) == "D04_read_as"
        assert stream.container.encoding == "gb18030"


def test_a_file_that_ends_inside_a_character_is_cut_off(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(lines(CHINESE).encode()[:-5], "cut.jsonl"))
    assert (caught.value.key, caught.value.problems[0].place.line) == ("D07_inside_character", 30)


def test_a_zero_byte_is_named_with_its_place(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(f'{ROW}\n{{"é": "\0"}}', "nul.jsonl"))
    problem = caught.value.problems[0]
    assert (problem.key, problem.place.line, problem.values["byte"]) == ("D06_nul_byte", 2, len(ROW) + 1 + 8)


def test_an_encoding_that_is_chosen_is_used_strictly(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(lines(CHINESE), "data.jsonl"), "big5")
    assert (caught.value.key, caught.value.problems[0].values["encoding"]) == ("D04_not_utf8", "BIG5")


@pytest.mark.parametrize("name", ["klingon", "rot13", "idna"])
def test_an_unknown_encoding_is_refused_with_those_that_are_known(write, name: str) -> None:
    with pytest.raises(WorkbenchError, match="gb18030, big5"):
        read(write(ROW), name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", '{"a": "b"}~\n{"a": "中😀"}\r\n\r\n{"a": "b"}\n\n{"a": 12}\r{"a": "c"}'),
        (
            "data.json",
            '[{"a": "b"},~\n{"a": "中😀\\n"},\r\n\r\n {"a":\n [1.5e3, true, "\\u4e2d"]}\n, {"a": null},\n12.5e1\n]',
        ),
        (
            "data.json",
            '{"data": [~{"a": "b"},\n{"a": "c"}], "other": {"b": [1, 23]}, "c":\n[{"a": 1}, 12, null], "d": 1}',
        ),
        ("data.csv", 'a,b~\r\n"中\r\n😀",2\r\n\r\nx,"y""z"\r\n"q,1\n4,5\n'),
        ("data.txt", "a text~中文\r\n\r\ntext 😀\r"),
    ],
)
def test_where_a_chunk_ends_makes_no_difference(
    write, monkeypatch: pytest.MonkeyPatch, name: str, content: str, encoding: str
) -> None:
    for spaces in range(64):
        file = write(content.replace("~", " " * spaces).encode(encoding), name)
        monkeypatch.setattr(texts, "CHUNK_BYTES", 1000)
        expected = read(file)
        monkeypatch.setattr(texts, "CHUNK_BYTES", 64)
        assert read(file) == expected
        assert len(expected[0]) >= 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_wide_encoding_chosen_by_hand_needs_no_mark(write, encoding: str) -> None:
    for order in ("-le", "-be") if encoding == "utf-16" else ("-le",):
        with open_rows(write(ROW.encode(encoding + order)), encoding) as stream:
            assert len(list(stream)) == 1
    other = write("问题,答案\n甲乙,丙\n".encode("gb18030"), "a.csv")
    with pytest.raises(WorkbenchError), open_rows(other, encoding):
        pass

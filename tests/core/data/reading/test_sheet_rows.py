from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Callable, Mapping

import pytest
from openpyxl import Workbook

from core.data.reading import sheet_rows
from core.data.reading.streams import open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import keys, read, zipped


def saved(workbook: Workbook, edit: Callable[[str], str] | None = None) -> bytes:
    """The bytes of a workbook; `edit` changes the XML of its first sheet, as other programs write it."""
    buffer = io.BytesIO()
    workbook.save(buffer)
    if edit is None:
        return buffer.getvalue()
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    return zipped(members | {sheet: edit(members[sheet].decode())})


def workbook_of(sheets: Mapping[str, list[list[object]]]) -> Workbook:
    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return workbook


HEADER = ["prompt", "completion"]


def test_cells_are_text_and_lines_those_of_the_sheet(write) -> None:
    day = datetime.date(2024, 5, 1)
    at = datetime.datetime(2024, 5, 1, 12, 30)
    rows = [[], [], HEADER, ["你好", 3], [], [2.5, True], [day, at], ["only a question"]]
    file = write(saved(workbook_of({"Data": rows})), "data.xlsx")
    found, problems = read(file)
    assert [(row.line, *row.values.values()) for row in found] == [
        (4, "你好", "3"),
        (6, "2.5", "TRUE"),
        (7, "2024-05-01", "2024-05-01T12:30:00"),
        (8, "only a question", ""),
    ]
    assert (problems, list(found[0].values)) == ([], HEADER)
    with open_rows(file) as stream:
        assert (stream.container.kind, stream.container.sheets, stream.container.sheet) == ("xlsx", ("Data",), "Data")


def test_the_first_sheet_with_rows_is_read_and_others_are_said(write) -> None:
    sheets = {"Notes": [], "Train": [HEADER, ["a", "b"]], "Test": [HEADER, ["c", "d"]]}
    file = write(saved(workbook_of(sheets)), "data.xlsx")
    rows, problems = read(file)
    assert ([row.values["prompt"] for row in rows], keys(problems)) == (["a"], ["D37_sheets"])
    assert problems[0].values == {"read": "Train", "others": "Test"}
    rows, problems = read(file, sheet="Test")
    assert ([row.values["prompt"] for row in rows], problems) == (["c"], [])
    with open_rows(file) as stream:
        assert (stream.container.sheets, stream.container.sheet) == (("Notes", "Train", "Test"), "Train")


def test_an_unknown_sheet_is_refused_with_those_there_are(write) -> None:
    file = write(saved(workbook_of({"Train": [HEADER, ["a", "b"]]})), "data.xlsx")
    with pytest.raises(WorkbenchError, match="It has: Train") as caught:
        read(file, sheet="Tran")
    assert caught.value.key == "D37_unknown_sheet"


def test_merged_cells_and_hidden_rows_are_named(write) -> None:
    workbook = workbook_of({"Data": [HEADER, ["a", "b"], ["c", "d"], ["e", "f"]]})
    sheet = workbook["Data"]
    sheet.merge_cells("A2:A3")
    sheet.row_dimensions[4].hidden = True
    sheet.row_dimensions[9].hidden = True
    rows, problems = read(write(saved(workbook), "data.xlsx"))
    assert [(row.line, *row.values.values()) for row in rows] == [(2, "a", "b"), (3, "", "d"), (4, "e", "f")]
    assert [(problem.key, problem.place.line, problem.severity) for problem in problems] == [
        ("D37_merged", None, "warning"),
        ("D37_hidden_rows", 4, "warning"),
    ]
    assert (problems[0].values["cells"], problems[1].values["count"]) == ("A2:A3", 1)


def test_a_formula_without_a_saved_value_is_named_with_its_cell_and_one_with_it_is_read(write) -> None:
    workbook = workbook_of({"Data": [HEADER, ["a", "=1+1"], ["b", "=1+2"], ["c", "=1/0"]]})

    def saved_values(xml: str) -> str:
        xml = re.sub(r'(<c r="B3"[^>]*><f>1\+2</f>)<v ?/?>(</v>)?', r"\1<v>3</v>", xml)
        return re.sub(r'<c r="B4"[^>]*>(<f>1/0</f>)<v ?/?>(</v>)?', r'<c r="B4" t="e">\1<v>#DIV/0!</v>', xml)

    rows, problems = read(write(saved(workbook, saved_values), "data.xlsx"))
    assert [row.values["completion"] for row in rows] == ["", "3", "#DIV/0!"]
    assert [(problem.key, problem.place.line, problem.place.field, problem.place.excerpt) for problem in problems] == [
        ("D37_no_saved_value", 2, "completion", ""),
        ("D37_error_value", 4, "completion", "#DIV/0!"),
    ]


def test_a_row_with_more_cells_than_names_is_named(write) -> None:
    rows, problems = read(write(saved(workbook_of({"Data": [HEADER, ["a", "b", "c"], ["d", "e"]]})), "data.xlsx"))
    assert [row.line for row in rows] == [3]
    assert [(problem.key, problem.place.line, problem.values["cells"]) for problem in problems] == [
        ("D35_ragged_row", 2, 3)
    ]


def test_a_column_without_a_name_gets_one(write) -> None:
    rows, problems = read(write(saved(workbook_of({"Data": [["prompt", None, "prompt"], ["a", "b", "c"]]})), "d.xlsx"))
    assert rows[0].values == {"prompt": "a", "column 2": "b", "prompt 2": "c"}
    assert keys(problems) == ["D35_column_unnamed", "D35_column_repeated"]


def test_very_many_columns_are_refused(write) -> None:
    with pytest.raises(WorkbenchError, match="D41"):
        read(write(saved(workbook_of({"Data": [[f"c{number}" for number in range(1001)]]})), "wide.xlsx"))


def test_an_empty_workbook_has_no_rows(write) -> None:
    with pytest.raises(WorkbenchError, match="D01"):
        read(write(saved(workbook_of({"Data": [HEADER]})), "empty.xlsx"))


def test_a_workbook_with_a_password_is_refused_as_such(write) -> None:
    content = b"\xd0\xcf\x11\xe0" + b"\0" * 2**20 + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(WorkbenchError) as caught:
        read(write(content, "secret.xlsx"))
    assert caught.value.key == "D37_password"
    assert "password" in caught.value.problems[0].describe("en").fix


@pytest.mark.parametrize(
    ("member", "content", "kind"),
    [
        ("xl/vbaProject.bin", b"x", "XLSM"),
        ("xl/workbook.bin", b"x", "XLSB"),
        ("Index/Document.iwa", b"x", "Numbers"),
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet", "ODS"),
    ],
)
def test_other_spreadsheets_are_refused_with_what_to_save_them_as(write, member: str, content: bytes, kind) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(zipped({member: content, "other.xml": b"x"}), "data.xlsx"))
    problem = caught.value.problems[0]
    assert (problem.key, problem.values["kind"]) == ("D38_other_spreadsheet", kind)
    assert ".xlsx" in problem.describe("zh").fix


@pytest.mark.parametrize("member", ["word/document.xml", "ppt/presentation.xml", "META-INF/container.xml"])
def test_other_documents_are_refused(write, member: str) -> None:
    with pytest.raises(WorkbenchError, match="D06"):
        read(write(zipped({member: b"x"}), "data.docx"))


def test_a_damaged_workbook_is_refused(write) -> None:
    workbook = workbook_of({"Data": [HEADER, ["a", "b"]]})
    with pytest.raises(WorkbenchError) as caught:
        read(write(saved(workbook, lambda xml: xml[:-40]), "data.xlsx"))
    assert caught.value.key == "D37_damaged"


def test_entities_that_grow_are_not_expanded(write) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    workbook = workbook_of({"Data": [HEADER, ["a", "b"]]})
    with pytest.raises(WorkbenchError, match="D37"):
        read(write(saved(workbook, lambda xml: laughs + xml), "laughs.xlsx"))


def test_a_workbook_that_is_a_bomb_is_refused_before_it_is_inflated(write, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(workbook_of({"Data": [HEADER, ["a", "b"]]}), lambda xml: xml + " " * 50_000_000)
    file = write(content, "bomb.xlsx")
    with pytest.raises(WorkbenchError) as caught:
        read(file)
    assert (caught.value.key, caught.value.problems[0].place.file) == ("D39_ratio", "xl/worksheets/sheet1.xml")
    monkeypatch.setattr(sheet_rows, "MAX_BYTES", len(content) - 1)
    with pytest.raises(WorkbenchError) as caught:
        read(file)
    assert caught.value.key == "D39_workbook_too_big"

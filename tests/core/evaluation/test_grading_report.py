"""The report on real graded answers: parse rate, accuracy and confusion of each field, for base and adapter."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from core.evaluation.field_match import propose_fields
from core.evaluation.report_file import report_html
from core.evaluation.spec import EvaluationSpec
from core.settings import LoadSettings
from core.workbench import Workbench
from core.workspace import Workspace
from tests.core.adapters.building import edit_json, save_random_adapter

ROWS = 10
FIELDS = ["语速", "停顿", "声母", "韵母", "声调", "完整度"]


@pytest.fixture
def models(request: pytest.FixtureRequest, tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The folder of the starter model, or of the tiny one with room for these long questions."""
    if request.param == "starter":
        return request.getfixturevalue("starter_dir")  # type: ignore[no-any-return]
    folder = tmp_path / "models" / "roomy"
    shutil.copytree(tiny_model_dir, folder)
    edit_json(folder / "config.json", max_position_embeddings=4096)
    return folder


@pytest.mark.parametrize(
    "models", ["tiny", pytest.param("starter", marks=[pytest.mark.starter, pytest.mark.slow])], indirect=True
)
def test_ten_graded_rows_give_a_report_with_every_field_of_both_columns(
    workspace: Workspace, models: Path, shared_data: Path
) -> None:
    lines = (shared_data / "oral_grading_short.jsonl").read_text("utf-8").splitlines()[:ROWS]
    (workspace.datasets / "grading.jsonl").write_text("\n".join(lines), encoding="utf-8")
    place = Workspace(workspace.root, (models.parent,))
    with Workbench(place) as workbench:
        workbench.load_model(models.name, LoadSettings(), remember=False)
        loaded = workbench.serving.model()
        save_random_adapter(loaded.model, place.adapters / "random", 1, loaded.fingerprint)
        spec = EvaluationSpec(
            name="grading",
            base=models.name,
            columns=("", "random"),
            dataset="grading.jsonl",
            part="all",
            loss=False,
            forgetting=False,
        )
        sampling = spec.sampling.model_copy(update={"max_new_tokens": 8})
        references = workbench.evaluations.references(spec)
        spec = spec.model_copy(update={"fields": propose_fields(references), "sampling": sampling})
        evaluation_id = workbench.evaluations.start(spec)
        assert workbench.evaluations.wait(300)
        result = workbench.evaluations.result(evaluation_id)
    html = report_html(result, "zh")
    for column in result.columns:
        assert [field.label for field in column.fields] == FIELDS
        for at, field in enumerate(column.fields):
            grades = Counter(reference.split("；")[at].split("：")[1] for reference in references)
            assert field.most_frequent == max(grades.values()) / ROWS
            assert sum(map(sum, field.confusion)) == ROWS
            assert sum(counts[-1] for counts in field.confusion) == round(ROWS * (1 - field.parse_rate))
            assert set(grades) <= set(field.classes) and field.label in html

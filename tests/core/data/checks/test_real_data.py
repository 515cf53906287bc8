"""What is found in the real data sets beside this checkout, each looked at by a person: no false alarm among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.report import report

ENGLISH_REPEATS = (1377, 2542, 2732, 2842, 2957, 3052, 3232, 3502, 3512, 3727, 3857, 4237, 4332, 4472)
FOUND: dict[str, dict[str, list[int]]] = {
    "alpaca_en_demo.json": {"D47_answer_in_question": [1307, 3802], "D31_duplicates": [*ENGLISH_REPEATS]},
    "alpaca_zh_demo.json": {"D31_duplicates": [2582, 2987, 3057, 3897, 3907, 4397, 4537, 4982]},
    "c4_demo.jsonl": {"D48_personal_data": [1, 65, 97], "D05_lost_characters": [11, 94]},
    "chinese_med.json": {"D33_few_rows": []},
    "dpo_en_demo.json": {
        "D05_garbled_text": [286],
        "D46_invisible_characters": [1602],
        "D31_duplicates": [3830, 4542],
    },
    "glaive_toolcall_en_demo.json": {
        "D31_duplicates": [216, 2332, 2712, 2786, 2815],
        "D31_near_duplicates": [3077, 3106],
    },
    "identity.json": {"D51_contradictions": [87, 307], "D29_placeholder_unfilled": []},
    "kto_en_demo.json": {"D29_special_tokens": [2497], "D29_placeholder_unfilled": []},
    "oral_grading_full.jsonl": {},
    "oral_grading_short.jsonl": {},
    "ruozhiba.json": {"D22_spaces_around": [662, 914]},
    "ruozhiba_sharegpt_300.json": {"D51_contradictions": [802]},
    "wiki_demo.txt": {"D33_few_rows": []},
}
CANNOT_BE_TRAINED_YET = ("D21_preference_data", "D21_kto_data")


@pytest.mark.parametrize(("name", "expected"), FOUND.items())
def test_what_is_found_in_real_data(shared_data: Path, name: str, expected: dict[str, list[int]]) -> None:
    found = {finding.key: list(finding.lines) for finding in report(shared_data / name).findings}
    assert {key: lines for key, lines in found.items() if key not in CANNOT_BE_TRAINED_YET} == expected

"""The catalogue of words is complete: both languages, every key that the code uses, and no key that it does not."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest
import yaml

import core.settings
from core.errors import Place, Problem
from core.i18n import LANGUAGES, catalogue, has_text, text
from core.settings import SettingField, Settings, fields_of

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = [*sorted((ROOT / "core").rglob("*.py")), *sorted((ROOT / "webui").rglob("*.py")), ROOT / "app.py"]
PARTS = ("what", "why", "fix")
NOT_PROBLEMS = {"more", "place"}  # the words around every error
CODE = re.compile(r"(?:[DMHA]\d\d|BUG)_[a-z0-9_]+")

# Texts that are the same in both languages. `*` stands for a part of a key; the end of the key is compared.
SAME_IN_CHINESE = ("*.language.*", "*.precision.choice.*", "*.formats.*", "*_example", "methods.*.name")
PROPER_NAMES = {"LoRA", "LoRA Workbench", "English", "Hugging Face", "ModelScope", "GGUF"}
PROPER_NAMES |= {"Top-k", "Top-p", "Min-p", "Alpha", "Dropout", "JSON"}
PROPER_NAMES |= {"ROUGE-1", "ROUGE-2", "ROUGE-L", "BLEU", "chrF"}
UNFILLED = re.compile(r"(?<!\{)\{[a-z_]+\}(?!\})")  # {name}, not the {{name}} of a data file

ERROR_KEYS = sorted({key.split(".")[1] for key in catalogue("en") if key.startswith("errors.")} - NOT_PROBLEMS)
MODELS = [
    model
    for model in vars(core.settings).values()
    if isinstance(model, type) and issubclass(model, Settings) and model is not Settings
]
FIELDS = [field for model in MODELS for field in fields_of(model).values()]


def test_both_languages_have_the_same_keys() -> None:
    english, chinese = set(catalogue("en")), set(catalogue("zh"))
    assert sorted(english - chinese) == [], "missing in zh"
    assert sorted(chinese - english) == [], "missing in en"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_room_has_its_words_in_a_file_of_its_own_in_both_languages(lang: str) -> None:
    folder = ROOT / "core" / "i18n"
    names = {name: {file.name for file in (folder / name).glob("*.yaml")} for name in LANGUAGES}
    assert names[lang] == set().union(*names.values())


def test_no_file_defines_a_key_twice() -> None:
    """YAML lets the last of two equal keys win in silence."""
    for file in (ROOT / "core" / "i18n").rglob("*.yaml"):
        _refuse_double_keys(file, yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))


def _refuse_double_keys(file: Path, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        doubles = sorted({key for key in keys if keys.count(key) > 1})
        assert doubles == [], f"{file.name}:{node.start_mark.line + 1}"
        for _, value in node.value:
            _refuse_double_keys(file, value)


def test_a_text_names_the_same_values_in_both_languages() -> None:
    different = {
        key: (_places(english), _places(catalogue("zh")[key]))
        for key, english in catalogue("en").items()
        if key in catalogue("zh") and _places(english) != _places(catalogue("zh")[key])
    }
    assert different == {}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_text_is_empty(lang: str) -> None:
    assert [key for key, words in catalogue(lang).items() if not words.strip() or words == "None"] == []  # type: ignore[arg-type]


def test_chinese_texts_are_in_chinese() -> None:
    english_only = {
        key: words
        for key, words in catalogue("zh").items()
        if not re.search(r"[\u4e00-\u9fff]", words) and re.search(r"[A-Za-z]{3}", _bare(words))
        if words not in PROPER_NAMES and not _is_excepted(key)
    }
    assert english_only == {}


def test_english_texts_hold_no_chinese() -> None:
    stray = {
        key: words
        for key, words in catalogue("en").items()
        if re.search(r"[\u4e00-\u9fff]", words) and not _is_excepted(key)
    }
    assert stray == {}


@pytest.mark.parametrize("key", ERROR_KEYS)
def test_an_error_says_what_why_and_how_to_fix_it(key: str) -> None:
    assert [part for part in PARTS if not has_text(f"errors.{key}.{part}")] == []
    assert CODE.fullmatch(key), "a code of the catalogue of bad inputs, an underscore, snake words"


@pytest.mark.parametrize("key", ERROR_KEYS)
def test_an_error_can_be_said_in_both_languages_with_the_values_it_names(key: str) -> None:
    named = set().union(*(_places(catalogue("en")[f"errors.{key}.{part}"]) for part in PARTS))
    problem = Problem(key, Place(file="a.jsonl", line=3), dict.fromkeys(named, 7))
    for lang in LANGUAGES:
        said = str(problem.describe(lang))
        assert said.startswith(f"{problem.code} · ")
        assert not UNFILLED.search(said)
        assert '{{"' not in said, "JSON in a text: single braces where no part of the error names a value, else double"


def test_every_error_that_the_code_raises_is_in_the_catalogue() -> None:
    """Whatever looks like an error's key counts: rooms have wrappers of their own around `refusal`."""
    missing = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in SOURCES
        for word in sorted(_strings(file))
        if CODE.fullmatch(word) and word not in ERROR_KEYS
    ]
    assert not missing, _listed(missing)
    assert sorted(_raised() - set(ERROR_KEYS)) == []


def test_every_error_of_the_catalogue_is_raised_somewhere() -> None:
    used = {word for file in SOURCES for word in _strings(file)}
    patterns = [pattern for file in SOURCES for pattern in _computed(file)]
    unused = [key for key in ERROR_KEYS if key not in used and not any(p.fullmatch(key) for p in patterns)]
    assert not unused, _listed(unused)


def test_an_error_is_raised_with_the_values_its_text_names() -> None:
    """Only calls whose values are written out as keyword arguments or a literal dict can be read here."""
    wrong = []
    for file in SOURCES:
        for call in _calls(file):
            key, given = _key(call), _given(call)
            if key in ERROR_KEYS and given is not None:
                named = set().union(*(_places(catalogue("en")[f"errors.{key}.{part}"]) for part in PARTS))
                if named - given:
                    wrong.append(f"{file.relative_to(ROOT)}:{call.lineno} {key} names {sorted(named - given)}")
    assert not wrong, _listed(wrong)


def test_every_literal_text_key_exists() -> None:
    missing = [
        f"{file.relative_to(ROOT)}:{call.lineno} {key}"
        for file in SOURCES
        if "from core.i18n import" in file.read_text(encoding="utf-8")
        for call in _calls(file, {"text", "has_text"})
        if (key := _key(call)) and not has_text(key)
    ]
    assert not missing, _listed(missing)


def test_every_computed_text_key_can_exist() -> None:
    """`text(f"training.status.{status}")`: some key must fit, else the family was renamed."""
    missing = [
        f"{file.relative_to(ROOT)}:{call.lineno} {pattern}"
        for file in SOURCES
        if "from core.i18n import" in file.read_text(encoding="utf-8")
        for call in _calls(file, {"text", "has_text"})
        if call.args and isinstance(call.args[0], ast.JoinedStr) and (pattern := _pattern(call.args[0])) != ".+"
        if not any(re.fullmatch(pattern, key) for key in catalogue("en"))
    ]
    assert not missing, _listed(missing)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"{field.model}.{field.name}")
def test_every_setting_has_a_label_and_a_help(field: SettingField) -> None:
    for lang in LANGUAGES:
        assert {field.label_key, field.help_key} <= set(catalogue(lang))


def test_no_words_are_left_of_a_setting_that_is_gone() -> None:
    known = {f"{field.model}.{field.name}" for field in FIELDS}
    texts = {key for key in catalogue("en") if re.fullmatch(r"settings\.\w+\.\w+\.(label|help)", key)}
    models = {field.model for field in FIELDS}
    stale = {key.split(".", 1)[1].rsplit(".", 1)[0] for key in texts} - known
    assert sorted(name for name in stale if name.split(".")[0] in models) == []


def test_a_text_is_filled_and_an_unknown_key_is_an_error() -> None:
    assert text("errors.place.line", "en", line=7) == "line 7"
    assert text("errors.place.line", "zh", line=7) == "第 7 行"
    with pytest.raises(KeyError):
        text("no.such.key")
    with pytest.raises(KeyError):
        text("errors.place.line", "en", wrong=7)


def _places(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def _bare(words: str) -> str:
    """A text without its {places}, `code` and links."""
    return re.sub(r"\{[^}]*\}|`[^`]*`|https?://\S+", "", words)


def _is_excepted(key: str) -> bool:
    return any(Path(key.replace(".", "/")).match(rule.replace(".", "/")) for rule in SAME_IN_CHINESE)


def _listed(findings: list[str]) -> str:
    return "\n".join(["", *findings])


def _raised() -> set[str]:
    return {key for file in SOURCES for call in _calls(file) if (key := _key(call))}


def _calls(file: Path, names: set[str] | None = None) -> list[ast.Call]:
    names = names or {"refusal", "Problem"}
    return [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names
    ]


def _key(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else next((word.value for word in call.keywords if word.arg == "key"), None)
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _given(call: ast.Call) -> set[str] | None:
    """The names of the values of a refusal(…) or Problem(…), or None where the code computes them."""
    if any(word.arg is None for word in call.keywords):
        return None
    if ast.unparse(call.func).split(".")[-1] == "refusal":
        return {str(word.arg) for word in call.keywords} - {"key", "place"}
    values = call.args[2] if len(call.args) > 2 else next((w.value for w in call.keywords if w.arg == "values"), None)
    if values is None:
        return set()
    if isinstance(values, ast.Dict) and all(isinstance(key, ast.Constant) for key in values.keys):
        return {str(key.value) for key in values.keys if isinstance(key, ast.Constant)}
    return None


def _computed(file: Path) -> list[re.Pattern[str]]:
    """What f-strings that look like the key of an error may become: `f"D21_{kind}_data"` → `D21_.+_data`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr) and re.match(r"[DMHA]\d\d_", _pattern(node)):
            found.append(re.compile(_pattern(node)))
    return found


def _pattern(node: ast.JoinedStr) -> str:
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in node.values)


def _strings(file: Path) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_one_thing_has_one_name_in_chinese() -> None:
    """The words of `shared/ux.md`, and none of those that others use for the same."""
    others = ("载入", "装载", "基座", "底座", "聊天", "会话", "断点", "轮数", "选项卡", "学习速率", "词汇表")
    said = [(key, word) for key, words in catalogue("zh").items() for word in others if word in words]
    assert said == []
    addressed = [key for key, words in catalogue("zh").items() if "你" in re.sub("“[^”]*”", "", words)]
    assert addressed == ["prompt_set.prompts_example", "judge.system"], "the reader is 您; these are said to a model"

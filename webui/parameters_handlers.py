"""What happens on the Parameters tab: one function for each event, from what the browser sent to what is shown then.

Owns presets, characters and the form's values as the tab handles them; `parameters_tab` lays the components out. Ranges
are checked by `core.settings`, names and files by the stores in `core.chat`.

    form = the sampling form's values in the order of `sampling_form`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from core.chat.characters import Character
from core.errors import Place, WorkbenchError, refusal
from core.i18n import Language, text
from core.markup import escape, note, visible
from core.settings import SamplingSettings
from core.workbench import Workbench
from webui.chat_flow import character_of, checked_text
from webui.sampling_form import SIZE, form_of, sampling_of
from webui.views import problem_list

MAX_IMPORT_BYTES = 1_000_000  # the stores refuse smaller files than this already; more is not even read


def restore(workbench: Workbench, lang: Language, saved: Any) -> list[Any]:
    """After the page was loaded: what this browser had, where it is for the same model; else the starting values.

    Returns updates of: model whose starting values were taken, its note, presets, characters, the three boxes of the
    character, system prompt, form.
    """
    had = saved if isinstance(saved, dict) else {}
    model = _model_name(workbench)
    values = had.get("values")
    seen = str(had.get("model") or "")
    if not _usable(values) or (model and seen != model):
        values, seen = form_of(workbench.sampling_defaults()), model
    prompt = had.get("system_prompt")
    character = _known_character(workbench, lang, had.get("character"))
    who = [*_lists(workbench, lang, "", character), *choose_character(workbench, lang, character)]
    return [seen, _origin(seen, lang), *who, prompt if isinstance(prompt, str) else "", *(values or ())]


def follow_model(workbench: Workbench, lang: Language, seen: Any) -> list[Any]:
    """Another base model brings its own starting values. Returns updates of: model, its note, form."""
    model = _model_name(workbench)
    if not model or model == seen:
        return [gr.skip()] * (2 + SIZE)
    return [model, _origin(model, lang), *form_of(workbench.sampling_defaults())]


def lists(workbench: Workbench, lang: Language, preset: Any, character: Any, seen: Any) -> list[Any]:
    """In another language: note, presets and characters."""
    return [_origin(str(seen or ""), lang), *_lists(workbench, lang, preset, character)]


def damaged_files(workbench: Workbench, lang: Language) -> list[str]:
    """The files that are in no list because they cannot be read, as HTML: of presets, of characters."""
    lists = (workbench.presets.list(), workbench.characters.list(lang))
    return [problem_list(each.problems, lang) for each in lists]


def reset(workbench: Workbench, lang: Language) -> list[Any]:
    """The loaded model's starting values. Returns updates of: model, its note, presets, form."""
    model = _model_name(workbench)
    presets = gr.update(value="")
    return [model, _origin(model, lang), presets, *form_of(workbench.sampling_defaults())]


def check(workbench: Workbench, lang: Language, *form: Any) -> str:
    """What is wrong with the form as it stands, as HTML; "" where nothing is."""
    try:
        sampling_of(form)
    except WorkbenchError as error:
        return problem_list(error.problems, lang, error.total)
    return ""


def choose_preset(workbench: Workbench, lang: Language, name: Any) -> list[Any]:
    if not name:
        return [gr.skip()] * SIZE
    return form_of(workbench.presets.find(checked_text(name, "preset")).settings)


def save_preset(workbench: Workbench, lang: Language, name: Any, *form: Any) -> list[Any]:
    """Keep the form under a name. Returns updates of: presets, name box."""
    settings: SamplingSettings = sampling_of(form)
    preset = workbench.presets.save(checked_text(name, "name").strip(), settings)
    _done(text("parameters_tab.saved", lang, name=visible(preset.name)), lang)
    return [_preset_update(workbench, lang, preset.name), ""]


def delete_preset(workbench: Workbench, lang: Language, name: Any) -> Any:
    if not name:
        raise refusal("H01_nothing_chosen", Place(field="preset"))
    workbench.presets.delete(checked_text(name, "preset"))
    return _preset_update(workbench, lang, "")


def import_preset(workbench: Workbench, lang: Language, path: Any) -> list[Any]:
    """A preset file of Text Generation WebUI or of ours. Returns updates of: presets, form."""
    preset, ignored = workbench.presets.add_file(*_uploaded(path))
    words = text("parameters_tab.imported", lang, name=visible(preset.name))
    if ignored:
        words += " " + text("parameters_tab.not_used", lang, keys=visible(", ".join(ignored)))
    _done(words, lang)
    return [_preset_update(workbench, lang, preset.name), *form_of(preset.settings)]


def choose_character(workbench: Workbench, lang: Language, name: Any) -> list[str]:
    """Returns the three boxes in which a character is edited."""
    character = character_of(workbench, lang, checked_text(name, "character")) or Character("")
    return [character.name, character.system_prompt, character.greeting]


def save_character(workbench: Workbench, lang: Language, name: Any, prompt: Any, greeting: Any) -> Any:
    texts = (checked_text(prompt, "system_prompt"), checked_text(greeting, "greeting"))
    character = workbench.characters.save(Character(checked_text(name, "name").strip(), *texts))
    _done(text("parameters_tab.saved", lang, name=visible(character.name)), lang)
    return _character_update(workbench, lang, character.name)


def delete_character(workbench: Workbench, lang: Language, name: Any) -> Any:
    """A shipped character that was edited is the shipped one again."""
    if not name:
        raise refusal("H01_nothing_chosen", Place(field="character"))
    workbench.characters.delete(checked_text(name, "character"))
    return _character_update(workbench, lang, "")


def import_character(workbench: Workbench, lang: Language, path: Any) -> Any:
    """A character file of Text Generation WebUI, or a character card."""
    character = workbench.characters.add_file(*_uploaded(path))
    _done(text("parameters_tab.imported", lang, name=visible(character.name)), lang)
    return _character_update(workbench, lang, character.name)


def _done(words: str, lang: Language) -> None:
    gr.Success(escape(words), title=text("parameters_tab.done", lang))


def _uploaded(path: Any) -> tuple[bytes, str]:
    """Content and name of a file that gradio took in; it has checked that the path is one of its own."""
    if not isinstance(path, str):
        raise refusal("H01_nothing_chosen", Place(field="file"))
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_IMPORT_BYTES), Path(path).name
    except OSError as error:  # gradio forgets uploads after a while
        raise refusal("D45_file_unreadable", Place(field="file"), reason=error.strerror or "") from error


def _usable(values: Any) -> bool:
    if not isinstance(values, list) or len(values) != SIZE:
        return False
    try:
        sampling_of(values)
    except WorkbenchError:
        return False
    return True


def _known_character(workbench: Workbench, lang: Language, name: Any) -> str:
    try:
        character = character_of(workbench, lang, name if isinstance(name, str) else "")
    except WorkbenchError:
        return ""
    return character.name if character else ""


def _model_name(workbench: Workbench) -> str:
    status = workbench.model_status()
    return status.name if status else ""


def _origin(model: str, lang: Language) -> str:
    """Where the starting values come from."""
    words = (
        text("parameters_tab.origin_model", lang, model=model) if model else text("parameters_tab.origin_ours", lang)
    )
    return note(words)


def _lists(workbench: Workbench, lang: Language, preset: Any, character: Any) -> list[Any]:
    chosen = character if isinstance(character, str) else ""
    preset_name = preset if isinstance(preset, str) else ""
    return [_preset_update(workbench, lang, preset_name), _character_update(workbench, lang, chosen)]


def _preset_update(workbench: Workbench, lang: Language, chosen: str) -> Any:
    choices = [(text("parameters_tab.no_preset", lang), "")]
    for preset in workbench.presets.list().presets:
        shipped = preset.origin == "shipped"
        choices.append((text(preset.label_key, lang) if shipped else visible(preset.name), preset.name))
    return gr.update(choices=choices, value=chosen if any(value == chosen for _, value in choices) else "")


def _character_update(workbench: Workbench, lang: Language, chosen: str) -> Any:
    names = [character.name for character in workbench.characters.list(lang).characters]
    if chosen and chosen not in names:
        names.append(chosen)  # a shipped one of the other language
    choices = [(text("parameters_tab.no_character", lang), ""), *((visible(name), name) for name in names)]
    return gr.update(choices=choices, value=chosen)

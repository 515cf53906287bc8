"""How programs use the API of this server, as HTML and as examples to copy. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from core.api.access import KEY_VARIABLE, State
from core.i18n import Language, text
from core.markup import card, escape, facts, note

USUAL_ORIGIN = "http://127.0.0.1:7860"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]{1,200}")


def base_url(origin: str | None) -> str:
    """The base URL of the API for a browser that sees the page at `origin`; the usual one where that is none."""
    return f"{origin if origin and _ORIGIN.fullmatch(origin) else USUAL_ORIGIN}/v1"


def summary(url: str, state: State, names: Sequence[str], lang: Language) -> str:
    """Address, key and model names; the first name is the base's."""
    if state == "closed":
        return card(note(text("api.panel.state.closed", lang, variable=KEY_VARIABLE), "warning"), "warning")
    shown = ", ".join(names) or text("api.panel.no_model", lang)
    pairs = [
        (text("api.panel.address", lang), url),
        (text("api.panel.key", lang), text(f"api.panel.state.{state}", lang)),
        (text("api.panel.models", lang), shown),
    ]
    hint = text("api.panel.on_demand", lang, base=names[0], adapter=names[1]) if len(names) > 1 else ""
    return card(f"<p>{escape(text('api.panel.intro', lang))}</p>{facts(pairs)}{note(hint)}")


def curl_example(url: str, state: State, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    key = [f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\'] if state == "key" else []
    lines = [f"curl {url}/chat/completions \\", '  -H "Content-Type: application/json" \\', *key]
    return "\n".join([*lines, f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"])


def python_example(url: str, state: State, model: str) -> str:
    return f"""{_client(url, state)}
stream = client.chat.completions.create(
    model={_literal(model)},
    messages=[{{"role": "user", "content": "Hello"}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")"""


def training_example(url: str, state: State, base: str) -> str:
    return f"""{_client(url, state, "import time")}
file = client.files.create(file=open("rows.jsonl", "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model={_literal(base)},
    training_file=file.id,
    suffix="my-adapter",
    hyperparameters={{"n_epochs": "auto"}},
    extra_body={{"workbench": {{"method": {{"rank": 16}}}}}},
)
while job.status in ("queued", "validating_files", "running"):
    time.sleep(2)
    job = client.fine_tuning.jobs.retrieve(job.id)
print(job.status, job.fine_tuned_model, job.error)"""


def _client(url: str, state: State, *imports: str) -> str:
    keyed = state == "key"
    lines = [*(["import os"] if keyed else []), *imports]
    key = f'os.environ["{KEY_VARIABLE}"]' if keyed else '"none-needed"'
    head = [*lines, *([""] if lines else []), "from openai import OpenAI  # pip install openai", ""]
    return "\n".join([*head, f'client = OpenAI(base_url="{url}", api_key={key})'])


def _literal(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)

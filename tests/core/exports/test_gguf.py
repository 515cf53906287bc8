"""llama.cpp's converters: their exact arguments, what they say, their end; Ollama's Modelfile; commands to serve."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.adapters.store import find_adapter
from core.errors import WorkbenchError
from core.exports import llama_cpp
from core.exports.desk import ExportDesk
from core.exports.llama_cpp import Converters, adapter_command, convert, find_converters, model_command
from core.exports.model_card import adapter_readme
from core.exports.ollama import families, family_of, modelfile
from core.exports.processes import run_command
from core.exports.serving_commands import ollama_name, serving_commands, vllm_rank
from core.jobs import Cancelled
from core.models.catalog import find_model
from core.workspace import Workspace
from tests.core.adapters.building import edit_json
from tests.core.exports.conftest import Adapted

WAIT_S = 10.0


def test_the_arguments_of_the_converters_are_exact(tmp_path: Path) -> None:
    script, folder, out = Path("/l/convert_hf_to_gguf.py"), Path("/m/a b;touch x"), Path("/o/x.gguf")
    assert model_command(folder, out, "q8_0", script) == [
        *(sys.executable, "/l/convert_hf_to_gguf.py", "/m/a b;touch x", "--outfile", "/o/x.gguf"),
        *("--outtype", "q8_0"),
    ]
    script = Path("/l/convert_lora_to_gguf.py")
    assert adapter_command(Path("/a"), Path("/b"), out, "f16", script) == [
        *(sys.executable, "/l/convert_lora_to_gguf.py", "--base", "/b", "--outfile", "/o/x.gguf"),
        *("--outtype", "f16", "/a"),
    ]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    own = model_command(folder, out, "q8_0", tmp_path / "convert_hf_to_gguf.py")
    assert own[0] == str(tmp_path / ".venv" / "bin" / "python"), "llama.cpp's own environment"
    shown = llama_cpp.shown(model_command(folder, out, "f32"))
    assert shown == "python convert_hf_to_gguf.py '/m/a b;touch x' --outfile /o/x.gguf --outtype f32"


def test_converters_are_looked_for_in_the_environment_and_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    assert find_converters() == Converters(None, None)
    (tmp_path / "bin").mkdir()
    on_path = tmp_path / "bin" / "convert_lora_to_gguf.py"
    on_path.write_text("")
    on_path.chmod(0o755)
    assert find_converters() == Converters(None, on_path)
    (tmp_path / "convert_hf_to_gguf.py").write_text("")
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    assert find_converters() == Converters(tmp_path / "convert_hf_to_gguf.py", on_path)


@pytest.mark.parametrize(
    ("kind", "good"),
    [("LORA", True), ("LORA/rslora", False), ("LORA/dora", False), ("LORA/bias", False), ("OFT", False)],
)
def test_only_an_adapter_that_llama_cpp_answers_alike_with_becomes_a_gguf_file(
    place: Workspace, adapted: Adapted, kind: str, good: bool
) -> None:
    info = find_adapter(place, adapted(kind))
    if good:
        llama_cpp.refuse_unconvertible(info)
        return
    with pytest.raises(WorkbenchError) as refused:
        llama_cpp.refuse_unconvertible(info)
    assert refused.value.key == "M18_no_gguf_adapter"


def test_a_program_is_heard_and_its_last_words_are_told_where_it_fails(tmp_path: Path) -> None:
    heard: list[str | None] = []
    program = "import sys; print('first'); print('bad: \\x1b[31mred'); sys.exit(3)"
    with pytest.raises(WorkbenchError, match=r"status 3(.|\n)*bad: \\u001b") as refused:
        convert([sys.executable, "-c", program], tmp_path / "x.gguf", heard.append)
    assert refused.value.key == "M11_converter_failed"
    assert heard[0] == "first"
    with pytest.raises(WorkbenchError, match="A14"):
        run_command([str(tmp_path / "nothing")], heard.append)


def test_a_program_that_makes_no_file_has_failed_and_one_that_does_has_not(tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    with pytest.raises(WorkbenchError, match="M11"):
        convert([sys.executable, "-c", "pass"], out, lambda line: None)
    convert([sys.executable, "-c", f"open({str(out)!r}, 'w').write('GGUF')"], out, lambda line: None)
    assert out.read_text() == "GGUF"


def test_a_cancelled_program_ends_with_what_it_started() -> None:
    program = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    children: list[int] = []
    began = threading.Event()

    def heard(line: str | None) -> None:
        if line:
            children.append(int(line))
            began.set()
        if began.is_set():
            raise Cancelled

    with pytest.raises(Cancelled):
        run_command([sys.executable, "-c", program], heard)
    import psutil

    for pid in children:
        with suppress(psutil.NoSuchProcess):  # it may be gone at any moment
            process = psutil.Process(pid)
            with suppress(psutil.TimeoutExpired):
                process.wait(WAIT_S)
            assert process.status() == psutil.STATUS_ZOMBIE


def test_a_modelfile_has_the_template_the_settings_and_the_system_prompt(place: Workspace) -> None:
    made = modelfile(find_model(place, "tiny"), 'Be """kind""".', "x.gguf")
    assert made.family == "chatml"
    lines = made.text.splitlines()
    assert lines[0] == "FROM ./x.gguf"
    assert 'if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n{{ else if' in made.text
    assert made.text.count('"""') == 4, "a quote in the prompt ends nothing"
    assert "PARAMETER num_ctx 512" in lines and 'PARAMETER stop "<|im_end|>"' in lines
    assert any(line.startswith("PARAMETER temperature ") for line in lines)


def test_a_family_is_used_only_where_it_writes_just_what_the_template_writes(tiny_tokenizer: Any) -> None:
    from tests.conftest import CHATML

    assert family_of(tiny_tokenizer) is not None
    for template in (
        CHATML.replace("<|im_end|>' + '\n'", "<|im_end|>'"),
        CHATML.replace("message['content']", "message['content'] | upper"),
        "{% for m in messages %}[INST]{{ m['content'] }}[/INST]{% endfor %}",
        "{{ raise_exception('no system') }}",
    ):
        tiny_tokenizer.chat_template = template
        assert family_of(tiny_tokenizer) is None, template


@pytest.mark.parametrize("name", ["llama3", "phi3", "zephyr", "plain", "chatml"])
def test_each_family_is_found_by_a_template_that_writes_it(tiny_tokenizer: Any, name: str) -> None:
    family = next(each for each in families(tiny_tokenizer.eos_token) if each.name == name)
    cases = "".join(
        f"{{% {'if' if role == 'system' else 'elif'} message['role'] == '{role}' %}}"
        f"{{{{ {pieces[0]!r} + message['content'] + {pieces[1]!r} }}}}"
        for role, pieces in (("system", family.system), ("user", family.user), ("assistant", family.assistant))
    )
    head = (
        "{% if messages[0]['role'] != 'system' %}{{ "
        + repr(family.system[0] + "Default." + family.system[1])
        + " }}{% endif %}"
    )
    body = "{% for message in messages %}" + cases + "{% endif %}{% endfor %}"
    opened = "{% if add_generation_prompt %}{{ " + repr(family.assistant[0]) + " }}{% endif %}"
    tiny_tokenizer.chat_template = head + body + opened
    assert family_of(tiny_tokenizer) == family


@pytest.mark.parametrize(
    ("rank", "taken"), [(1, 1), (4, 8), (8, 8), (9, 16), (64, 64), (300, 320), (512, 512), (600, None)]
)
def test_the_rank_that_vllm_is_told_covers_the_adapters(
    place: Workspace, adapted: Adapted, rank: int, taken: int | None
) -> None:
    edit_json(place.adapters / adapted("LORA") / "adapter_config.json", r=rank)
    assert vllm_rank(find_adapter(place, "lora")) == taken


@pytest.mark.parametrize(
    "more", [{"rank_pattern": {"q_proj": 8}}, {"alpha_pattern": {"q_proj": 64}}, {"use_dora": True}]
)
def test_what_is_more_than_one_rank_and_one_alpha_goes_elsewhere_merged(
    place: Workspace, adapted: Adapted, more: dict[str, Any]
) -> None:
    edit_json(place.adapters / adapted("LORA") / "adapter_config.json", **more)
    info = find_adapter(place, "lora")
    with pytest.raises(WorkbenchError, match="GGUF"):
        llama_cpp.refuse_unconvertible(info)
    (vllm, *_) = serving_commands(info, Path("/m/base"), Path("/m/merged"))
    assert (vllm.commands, vllm.needs) == (("vllm serve /m/merged",), "merged")
    readme = adapter_readme(info, find_model(place, "tiny"))
    assert "--enable-lora" not in readme and "merge it into its base first" in readme


@pytest.mark.parametrize("kind", ["LORA", "LORA/rslora"])
def test_vllm_serves_a_plain_lora_however_it_is_scaled(place: Workspace, adapted: Adapted, kind: str) -> None:
    info = find_adapter(place, adapted(kind))
    assert vllm_rank(info) == 8
    assert "--enable-lora --max-lora-rank 8" in adapter_readme(info, None)


def test_biases_that_no_merged_model_holds_are_named_where_it_would_be_served(
    place: Workspace, adapted: Adapted
) -> None:
    name, desk = adapted("LORA/bias"), ExportDesk(place, list)
    with pytest.raises(WorkbenchError) as refused:
        desk.serving(name)
    assert refused.value.key == "M18_bias_not_mergeable"
    readme = adapter_readme(find_adapter(place, name), find_model(place, "tiny"))
    assert "vllm serve" not in readme and "cannot be merged either" in readme


def test_commands_are_filled_in_and_quoted(place: Workspace, adapted: Adapted) -> None:
    (place.adapters / adapted("LORA")).rename(place.adapters / "my judge")
    vllm, transformers, ollama = serving_commands(find_adapter(place, "my judge"), Path("/m/base"), Path("/m/mer ged"))
    assert vllm.commands == (
        f"vllm serve /m/base --enable-lora --max-lora-rank 8 --lora-modules 'my judge={place.adapters / 'my judge'}'",
    )
    assert transformers.commands[-1] == "transformers serve '/m/mer ged'"
    assert ollama.commands == ("ollama create my-judge -f Modelfile", "ollama run my-judge")
    (vllm, *_) = serving_commands(find_adapter(place, adapted("OFT")), Path("/m/base"), Path("/m/merged"))
    assert (vllm.commands, vllm.needs) == (("vllm serve /m/merged",), "merged")


@pytest.mark.parametrize(
    ("name", "wanted"), [("Judge 2", "judge-2"), ("评分", "adapter"), ("-x.", "x"), ("a评b", "a-b")]
)
def test_a_name_for_ollama_is_one_that_it_takes(name: str, wanted: str) -> None:
    assert ollama_name(name) == wanted

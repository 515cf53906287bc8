"""`adapters list | import | export | merge | gguf | push | serve`: an adapter's ways in and out.

Owns their arguments and words. What takes long runs as it does under the page (`core.exports.desk`), with its phases on
standard error; Ctrl-C ends it. A path is named here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from core.commands.lists import add_listing
from core.commands.output import language, moved_out, plain, target_folder, write
from core.errors import WorkbenchError
from core.exports.llama_cpp import FOLDER_VARIABLE
from core.exports.plan import Dtype, ExportWish, GgufType
from core.i18n import text
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.exports.desk import ExportDesk, ExportStatus
    from core.exports.work import Done

LOOK_EVERY_S = 0.2


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    verbs = subparsers.add_parser("adapters", help="list, import, export and merge adapters").add_subparsers(
        dest="verb", required=True
    )
    coming = verbs.add_parser("import", help="take an adapter from a zip or a folder into loras/")
    coming.add_argument("source", type=Path, metavar="ZIP_OR_FOLDER")
    coming.add_argument("--name", default="", help="what it is called here (default: after the file)")
    coming.set_defaults(run=_import)
    made = [_making(verbs, *each) for each in _MAKING]
    push = verbs.add_parser("push", help="send an adapter, or a model, to Hugging Face or ModelScope")
    push.add_argument("adapter", metavar="ADAPTER")
    push.add_argument("--model", default="", help="send this model of models/ instead of the adapter itself")
    push.add_argument("--hub", choices=("huggingface", "modelscope"), default="huggingface")
    push.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository; made where it is missing")
    push.add_argument("--public", action="store_true", help="everybody may read it (default: private)")
    push.add_argument("--yes", action="store_true", help="send it; without this, only what would be sent is shown")
    push.set_defaults(run=_push)
    serve = verbs.add_parser("serve", help="show the commands that serve an adapter with vLLM, transformers, Ollama")
    serve.add_argument("adapter", metavar="ADAPTER")
    serve.set_defaults(run=_serve)
    return [add_listing(verbs, "adapters"), coming, *made, push, serve]


_MAKING = (
    ("export", "write an adapter as one zip"),
    ("merge", "make a model in models/ of an adapter and its base"),
    ("gguf", "make a GGUF file of an adapter merged into its base, with llama.cpp's converter"),
)


def _making(verbs: Any, verb: str, words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=words)
    parser.add_argument("adapter", metavar="ADAPTER")
    if verb in ("merge", "gguf"):
        parser.add_argument("--dtype", choices=get_args(Dtype), help="number format (default: the base's own)")
    if verb == "merge":
        parser.add_argument("--name", default="", help="what the model is called (default: after base and adapter)")
    else:
        parser.add_argument(
            "--to", type=Path, default=Path(), metavar="FOLDER", help="where to, made if missing (default: here)"
        )
    if verb == "gguf":
        parser.add_argument("--type", choices=get_args(GgufType), default="q8_0", help="number format of the file")
        parser.add_argument("--adapter-only", action="store_true", help="the adapter itself, to be used with its base")
        parser.add_argument("--llama-cpp", type=Path, metavar="FOLDER", help=f"llama.cpp (default: {FOLDER_VARIABLE})")
    parser.set_defaults(run={"export": _export, "merge": _merge, "gguf": _gguf}[verb])
    return parser


def _import(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    with workspace.writer(), Workbench(workspace) as workbench:
        source = options.source
        take = workbench.exports.import_folder if source.is_dir() else workbench.exports.import_zip
        arrived = take(source, options.name)
    lang = language(options)
    lines = [text("cli.imported", lang, name=arrived.info.name)]
    if arrived.left_out:
        lines.append(text("cli.left_out", lang, files=", ".join(arrived.left_out)))
    write(options, plain(arrived), lines)
    return 0


def _export(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    file = Workbench(workspace).exports.zip_adapter(options.adapter, target_folder(options.to))
    file = moved_out(file)
    write(options, {"file": str(file)}, [str(file)])
    return 0


def _merge(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    with workspace.writer(), Workbench(workspace) as workbench:
        desk = workbench.exports
        name = options.name or desk.free_model_name(options.adapter)
        wish = {"adapter": options.adapter, "result": "model", "name": name, "dtype": options.dtype}
        desk.start(ExportWish.checked(wish), workspace.state)
        done = _followed(desk, options)
    assert done.merged
    exact, written = done.merged.exact, done.merged.written
    shown = {"same": exact.same, "tokens": exact.tokens, "difference": f"{written.difference:.3g}"}
    words = text("cli.merged", language(options), folder=workspace.models / name, **shown)
    write(options, {"model": name, "merged": plain(done.merged)}, [words])
    return 0


def _gguf(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    if options.llama_cpp:
        os.environ[FOLDER_VARIABLE] = str(options.llama_cpp.resolve())
    result = "adapter_gguf" if options.adapter_only else "gguf"
    wish = {"adapter": options.adapter, "result": result, "dtype": options.dtype, "gguf_type": options.type}
    target = target_folder(options.to)
    with workspace.writer(), Workbench(workspace) as workbench:
        desk = workbench.exports
        checked = ExportWish.checked(wish)
        if not desk.has_converter(checked):
            sys.stderr.write(text("cli.gguf_by_hand", language(options)) + f"\n  {desk.gguf_command(checked)}\n\n")
        desk.start(checked, target)
        done = _followed(desk, options)
        assert done.file
        file = moved_out(done.file)
    write(options, {"file": str(file)}, [str(file)])
    return 0


def _push(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.exports.desk import PushWish
    from core.workbench import Workbench

    wish = {"adapter": options.adapter, "model": options.model, "source": options.hub, "repo_id": options.repo}
    with workspace.writer(), Workbench(workspace) as workbench:
        checked = PushWish.checked({**wish, "private": not options.public})
        plan = workbench.exports.plan_push(checked)
        key = "cli.push_private" if plan.private else "cli.push_public"
        said = [text(key, language(options), repo=plan.repo_id, host=plan.host, megabytes=f"{plan.bytes / 1e6:.1f}")]
        said += [f"  {name}  {size}" for name, size in plan.files]
        if not options.yes:
            write(options, plain(plan), [*said, text("cli.push_yes", language(options))])
            return 0
        sys.stderr.write("\n".join(said) + "\n")
        workbench.exports.start_push(checked)
        done = _followed(workbench.exports, options)
    write(options, {"url": done.url}, [str(done.url)])
    return 0


def _serve(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.workbench import Workbench

    desk, lang = Workbench(workspace).exports, language(options)
    lines: list[str] = []
    found = desk.serving(options.adapter)
    for serving in found:
        lines += [f"# {text(f'exports.tool.{serving.tool}', lang)}"]
        lines += [f"# {text(f'exports.needs.{serving.needs}', lang)}"] if serving.needs else []
        lines += [*serving.commands, ""]
    made = desk.modelfile(options.adapter)
    value = {"serving": [plain(each) for each in found], "modelfile": made.text}
    write(options, value, [*lines, "# Modelfile", made.text.rstrip()])
    return 0


def _followed(desk: ExportDesk, options: argparse.Namespace) -> Done:
    """Wait for an export, telling its phases.

    Raises:
        WorkbenchError: what it was refused for.
        KeyboardInterrupt: Ctrl-C; it has ended.
    """
    shown = ""
    status: ExportStatus | None = desk.status()
    try:
        while status and status.state == "running":
            if status.step.phase != shown:
                shown = status.step.phase
                sys.stderr.write(f"  {text(f'exports.phase.{shown}', language(options))}\n")
            status = desk.wait(LOOK_EVERY_S)
    except KeyboardInterrupt:
        desk.cancel()
        desk.wait()
        raise
    assert status
    if status.done is None:
        assert status.problem
        raise WorkbenchError([status.problem])
    return status.done

"""The entrance: command line → Workbench → page or command. The only file that knows both `core` and `webui`.

`python app.py` serves the page. Everything else a person can do from a shell is in `core/commands/`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COMMANDS = ("serve", "train", "evaluate", "harness", "check", "chat", "models", "datasets", "adapters", "runs")
DEFAULT_PORT = 7860

# Before any library reads them: nothing leaves the machine unasked.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from core import commands  # noqa: E402 - the environment above must come first
from core.commands.output import tell_of_saving  # noqa: E402
from core.errors import WorkbenchError, refusal  # noqa: E402
from core.i18n import LANGUAGES, Language, text  # noqa: E402
from core.leaving import leaving_in_order  # noqa: E402
from core.models.arrival import in_words  # noqa: E402
from core.workspace import Workspace  # noqa: E402

log = logging.getLogger("workbench")


def main(argv: list[str]) -> int:
    """Run one command; 0 = done, 2 = bad input, 1 = a bug, 130 = interrupted before there was anything to keep.

    Raises:
        SystemExit: it was told to leave by a signal; what was going on is saved.
    """
    options = parse(argv)
    with leaving_in_order():
        return _carried_out(options)


def _carried_out(options: argparse.Namespace) -> int:
    try:
        workspace = Workspace(options.data_dir.resolve(), tuple(folder.resolve() for folder in options.models_dir))
        _log_to_file(workspace)
        return serve(workspace, options) if options.command == "serve" else commands.run(workspace, options)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - what is no refusal is logged in full
        told = in_words(error, options.data_dir)
        return _refuse(told, options) if isinstance(told, WorkbenchError) else _own_up(options)


def _refuse(error: WorkbenchError, options: argparse.Namespace) -> int:
    """Say on standard error what was refused, in words or as JSON."""
    lang: Language = options.lang or "en"
    problems = [{"code": problem.code, **vars(problem.describe(lang))} for problem in error.problems]
    told = {"error": {"problems": problems, "total": error.total}}
    sys.stderr.write(json.dumps(told, ensure_ascii=False) + "\n" if options.json else error.describe(lang) + "\n")
    return 2


def _own_up(options: argparse.Namespace) -> int:
    """Log the exception at hand in full and say where."""
    log.exception("bug")
    sys.stderr.write(text("cli.bug", options.lang or "en", log=_log_file(options.data_dir)) + "\n")
    return 1


def serve(workspace: Workspace, options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; holds the data directory meanwhile.

    Raises:
        WorkbenchError: A25 where others could reach the server without a password, or the API's key is no good; A16
            where the port is taken.
    """
    from core.api.access import Access, read_key
    from core.ports import check_port
    from webui import security

    loopback = security.is_loopback(options.host)
    if not options.auth_file and (options.share or not loopback):
        raise refusal("A25_credentials_needed", host=options.host if not loopback else "--share")
    users = security.read_credentials(options.auth_file) if options.auth_file else None
    access = Access(read_key(options.api_key_file), guarded=bool(users) or not loopback)
    check_port(options.host, options.port)
    with workspace.writer():
        if not options.no_starter and not any(workspace.models.glob("*/config.json")):
            commands.fetch_starter(workspace, options)
        os.environ["GRADIO_TEMP_DIR"] = str(workspace.state / "browser-files")
        if options.llama_cpp:
            os.environ["LLAMA_CPP_DIR"] = str(options.llama_cpp.resolve())
        from core.workbench import Workbench
        from webui.serving import serve_page

        with Workbench(workspace, lambda: tell_of_saving(options)) as workbench:
            workbench.load_at_start(options.load)
            serve_page(workbench, options, users, access)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; with no command it is `serve`."""
    if not argv or (argv[0] not in COMMANDS and argv[0] not in ("-h", "--help")):
        argv = ["serve", *argv]
    parser = argparse.ArgumentParser(
        prog="app.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    serving = subparsers.add_parser("serve", help="serve the page (the default)")
    _add_serve(serving)
    parsers = [serving, *commands.add_parsers(subparsers)]
    for each in parsers:
        _add_common(each)
    parser.epilog = "\n".join(each.format_help() for each in parsers)
    return parser.parse_args(argv)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; any but loopback needs --auth-file")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"port to listen on (default {DEFAULT_PORT})")
    parser.add_argument("--share", action="store_true", help="also open a public Gradio link; needs --auth-file")
    parser.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="one more name people reach this server by"
    )
    parser.add_argument("--auth-file", type=Path, help="file of user:password lines, one a person")
    parser.add_argument("--api-key-file", type=Path, help="file with the key of the API (or WORKBENCH_API_KEY)")
    parser.add_argument("--load", metavar="MODEL", help="load this base model at start (default: the last one used)")
    parser.add_argument("--no-starter", action="store_true", help="leave an empty models/ empty")
    parser.add_argument("--llama-cpp", type=Path, metavar="FOLDER", help="llama.cpp, whose converters make GGUF files")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=ROOT, help="where all state is kept (default: this folder)")
    parser.add_argument(
        "--models-dir", type=Path, action="append", default=[], help="one more folder of base models; repeatable"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the page and of messages")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def _log_file(data_dir: Path) -> Path:
    return data_dir / "state" / "logs" / "workbench.log"


def _log_to_file(workspace: Workspace) -> None:
    """Everything to a rotated file, so that the console stays readable."""
    workspace.create()
    file = _log_file(workspace.root)
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(file, maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("workbench").setLevel(logging.INFO)
    logging.captureWarnings(True)  # libraries warn their callers; people read the page


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

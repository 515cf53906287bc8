"""`chat PROMPT`: one question to a model, with or without an adapter."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from core.commands.output import write
from core.workspace import Workspace


def add_parsers(subparsers: Any) -> list[argparse.ArgumentParser]:
    chat: argparse.ArgumentParser = subparsers.add_parser(
        "chat", help="ask a model, with or without an adapter, one question"
    )
    chat.add_argument("prompt", help="the question")
    chat.add_argument("--model", required=True, help="name of a base model in models/")
    chat.add_argument("--adapter", help="name of an adapter in loras/")
    chat.add_argument("--system", help="system prompt")
    chat.add_argument("--seed", type=int, help="repeat an answer: the seed it was drawn with")
    chat.add_argument("--greedy", action="store_true", help="always the most probable token")
    chat.add_argument("--max-new-tokens", type=int, help="longest answer in tokens")
    chat.set_defaults(run=_chat)
    return [chat]


def _chat(workspace: Workspace, options: argparse.Namespace) -> int:
    from core.chat.engine import ChatRequest
    from core.data.conversation import Message
    from core.settings import LoadSettings, SamplingSettings
    from core.workbench import Workbench

    with Workbench(workspace) as workbench:
        workbench.load_model(options.model, LoadSettings(), remember=False)
        if options.adapter:
            workbench.apply_adapter(options.adapter)
        wishes = {"seed": options.seed, "max_new_tokens": options.max_new_tokens}
        chosen = {name: value for name, value in wishes.items() if value is not None}
        defaults = workbench.sampling_defaults().model_dump()
        sampling = SamplingSettings.checked({**defaults, **chosen, **({"do_sample": False} if options.greedy else {})})
        messages: list[Message] = [{"role": "user", "content": options.prompt}]
        system_prompt = workbench.system_prompt(options.system, None, options.adapter).sent
        if system_prompt:
            messages.insert(0, {"role": "system", "content": system_prompt})
        shown = 0
        reply = None
        for replies in workbench.chat([ChatRequest(tuple(messages), sampling, options.adapter)]):
            reply = replies[0]
            if not options.json:
                sys.stdout.write(reply.text[shown:])
                sys.stdout.flush()
                shown = len(reply.text)
    assert reply is not None, "a stream ends with a reply or an error"
    write(options, dataclasses.asdict(reply), [""])
    return 0

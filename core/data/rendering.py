"""The one place where a conversation becomes token ids, and where it is decided which of them are trained.

Training, previews and chat all come here, so that a model is asked exactly what it was taught (laws 1 and 2):

- The ids of an example begin with exactly the ids that chat feeds for its prompt, because both are cut at the same
  places and tokenised piece by piece (`turns.py` says where).
- `labels[i]` is `input_ids[i]` for the tokens of an answer and the token that ends its turn, and `NOT_TRAINED` for all
  others; the model shifts them. What a template writes after the last answer (most write a newline) is left out:
  nothing is learned from it.
- A template that rewrites earlier turns (thinking dropped, system prompt moved to the last question) gives one example
  for each answer, because no single row of ids equals what chat would feed at every turn.

Not here: which template a model has (`templates.py`), what a row means (`formats.py`), padding (`batching.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.data.conversation import Example, Message
from core.data.documents import Document, documents, pack
from core.data.options import DataOptions
from core.data.template_forms import uses_tools, without_thoughts
from core.data.templates import BUILT_IN_TEMPLATES, ensure_template
from core.data.turns import NOT_TRAINED, ChatView, Rendered, broken, cut
from core.errors import SHOWN_PROBLEMS, Place, Problem, WorkbenchError, refusal
from core.settings import LongRows

__all__ = [
    "BUILT_IN_TEMPLATES",
    "NOT_TRAINED",
    "Piece",
    "Rendered",
    "RenderedSet",
    "end_of_turn_ids",
    "ensure_template",
    "fitted",
    "preview",
    "render_all",
    "render_example",
    "render_prompt",
    "renderer",
]

AS_USUAL = DataOptions()
PREVIEW_CHARACTERS, PREVIEW_TOKENS = 20_000, 1024  # of a document


@dataclass(frozen=True)
class Piece:
    """One token as shown in a preview. Where several tokens make one character, the last holds it, the others ""."""

    text: str
    trained: bool
    token_id: int


@dataclass(frozen=True)
class RenderedSet:
    """All rows of a data set as ids, and what became of the rows that did not fit.

    `too_long` are the lines of rows over the maximum length, `untrained` those of which the cut left nothing to learn
    (they are not among `rows`), `cut` has the line of each row that was cut and is still there. Errors among `problems`
    name rows that the template could not render; they are not among `rows` either. The last `documents` rows are
    documents, or blocks of them.
    """

    rows: list[Rendered]
    documents: int = 0
    too_long: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    untrained: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self.rows]

    @property
    def trained_tokens(self) -> list[int]:
        """Trained tokens of each row."""
        return [row.trained_tokens for row in self.rows]

    @property
    def total_tokens(self) -> int:
        return sum(self.lengths)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], reply_start: str = "", tools: Sequence[dict[str, Any]] = ()
) -> list[int]:
    """The ids chat feeds to the model: the conversation, the opening of the answer, and the start of the reply.

    Raises:
        WorkbenchError: D28 where the template refuses the conversation, M05 where there is no template.
    """
    view, shaped = ChatView.of(tokenizer).prepared(messages, tools)
    segments = cut(view.text(shaped, prompt=True), view.turns(shaped))
    return view.encode([*segments, (broken(reply_start, view.special), False)])[0]


def render_example(tokenizer: Any, example: Example, options: DataOptions = AS_USUAL) -> list[Rendered]:
    """The training rows of one example: usually one, one for each answer where the template rewrites earlier turns.

    Messages after the last answer that is learned are left out. A document is a row, uncut.

    Raises:
        WorkbenchError: D27 where there is no answer to learn, or none before which something was said; D28 where the
            template refuses the conversation; M05 where there is no template.
    """
    return renderer(tokenizer, options)(example)


def renderer(tokenizer: Any, options: DataOptions = AS_USUAL) -> Callable[[Example], list[Rendered]]:
    """As `render_example`, for many: what a tokenizer with thousands of added tokens is slow to say is asked once."""
    view = ChatView.of(tokenizer)

    def render(example: Example) -> list[Rendered]:
        if example.kind == "text":
            return pack(documents(view, example, options.text_separator))
        return _render(view, example, options)

    return render


def render_all(
    tokenizer: Any,
    examples: Iterable[Example],
    max_length: int | None = None,
    long_rows: LongRows = "skip",
    options: DataOptions = AS_USUAL,
) -> RenderedSet:
    """Render every example. Conversations over `max_length` tokens are skipped, or cut at their end.

    Documents are packed into blocks of `max_length` tokens (`documents.py`); without one each is a row of its own.

    Raises:
        WorkbenchError: D30 where no row keeps a trained token; all D27 and D28 where no example can be rendered.
    """
    view = ChatView.of(tokenizer)
    rows: list[Rendered] = []
    texts: list[Document] = []
    with_tools: list[int] = []
    problems: list[Problem] = []
    for example in examples:
        try:
            if example.kind == "text":
                texts += documents(view, example, options.text_separator)
            else:
                rows += _render(view, example, options)
                with_tools += [example.line] if uses_tools(example.messages, example.tools) else []
        except WorkbenchError as error:
            problems += error.problems
    if not rows and not texts and problems:
        raise WorkbenchError(problems)
    problems += _template_warnings(view, rows, with_tools)
    return _fit(rows, pack(texts, max_length, options.text_overlap), max_length, long_rows, problems)


def fitted(whole: RenderedSet, max_length: int, long_rows: LongRows, overlap: int) -> RenderedSet:
    """What `render_all` gives with a maximum length, from what it gave without one: nothing is tokenised again.

    Raises:
        WorkbenchError: D30 where no row keeps a trained token.
    """
    begin = len(whole.rows) - whole.documents
    texts = [Document(row.input_ids, row.line) for row in whole.rows[begin:]]
    return _fit(whole.rows[:begin], pack(texts, max_length, overlap), max_length, long_rows, [*whole.problems])


def preview(tokenizer: Any, example: Example, options: DataOptions = AS_USUAL) -> list[Piece]:
    """The tokens of an example as text, with the trained ones marked; of a document the beginning.

    Raises:
        WorkbenchError: as `render_example`.
    """
    if example.kind == "text":
        start = replace(example, text=str(example.text)[:PREVIEW_CHARACTERS])
        blocks = pack(documents(ChatView.of(tokenizer), start, options.text_separator), PREVIEW_TOKENS)
        return _pieces(tokenizer, blocks[0])
    return [piece for row in render_example(tokenizer, example, options) for piece in _pieces(tokenizer, row)]


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """The tokens after which an answer is over: the template's end-of-turn token and the tokenizer's EOS.

    Raises:
        WorkbenchError: M05 where there is no template.
    """
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in ChatView.of(tokenizer).endings()]
    return ids if tokenizer.eos_token_id in (None, *ids) else [*ids, int(tokenizer.eos_token_id)]


def _render(view: ChatView, example: Example, options: DataOptions) -> list[Rendered]:
    messages = [without_thoughts(said) if options.thinking == "drop" else said for said in example.messages]
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    learned = [number for number, index in enumerate(answers) if messages[index].get("trained", True)]
    if not learned:
        raise refusal("D27_nothing_learned" if answers else "D27_no_answer", _place(example))
    if options.answers == "last":
        learned = learned[-1:]
    try:
        view, shaped = view.prepared(messages[: answers[learned[-1]] + 1], example.tools)
        turns = view.turns(shaped)
    except WorkbenchError as error:
        raise WorkbenchError([replace(each, place=_place(example)) for each in error.problems]) from error
    if all(turns[-1].end.startswith(turn.end) for turn in turns):
        rows = [cut(turns[-1].end, turns, learned, options.train_prompt)]
    else:
        rows = [cut(turns[each].end, turns[: each + 1], (each,), options.train_prompt) for each in learned]
    return [Rendered(*view.encode(segments), line=example.line) for segments in rows]


def _place(example: Example) -> Place:
    return Place(file=example.file, line=example.line)


def _template_warnings(view: ChatView, rows: Sequence[Rendered], with_tools: Sequence[int]) -> list[Problem]:
    problems = []
    if rows and not any(row.input_ids[-1] in view.added for row in rows):
        problems.append(Problem("M05_no_end_of_turn", severity="warning"))
    if with_tools and view.calls is None:
        values = {"count": len(with_tools)}
        problems.append(Problem("M05_tools_in_words", Place(line=with_tools[0]), values, "warning"))
    return problems


def _fit(
    rows: list[Rendered],
    blocks: list[Rendered],
    max_length: int | None,
    long_rows: LongRows,
    problems: list[Problem],
) -> RenderedSet:
    """The rows within the maximum length, and the blocks of documents, which are within it."""
    limit = max_length or max((len(row.input_ids) for row in rows), default=0)
    too_long = tuple(dict.fromkeys(row.line for row in rows if len(row.input_ids) > limit))
    kept = [
        replace(row, input_ids=row.input_ids[:limit], labels=row.labels[:limit])
        for row in rows
        if len(row.input_ids) <= limit or long_rows == "cut"
    ]
    fit = [row for row in kept if row.trained_tokens]
    if rows and not fit and not blocks:
        raise _nothing_fits(rows, limit, long_rows)
    untrained = tuple(dict.fromkeys(row.line for row in kept if not row.trained_tokens))
    if untrained:
        values = {"count": len(untrained), "limit": limit, "lines": ", ".join(map(str, untrained[:SHOWN_PROBLEMS]))}
        problems = [*problems, Problem("D30_rows_without_answer", Place(line=untrained[0]), values, "warning")]
    both = zip(rows, kept, strict=True) if long_rows == "cut" else ()
    cut = tuple(row.line for whole, row in both if len(whole.input_ids) > limit and row.trained_tokens)
    return RenderedSet(fit + blocks, len(blocks), too_long, cut, untrained, tuple(problems))


def _nothing_fits(rows: list[Rendered], limit: int, long_rows: LongRows) -> WorkbenchError:
    """D30 with the share of rows that are too long and the shortest maximum length with which one row can be used."""
    if long_rows == "cut":
        needed = min(next(at for at, label in enumerate(row.labels) if label != NOT_TRAINED) + 1 for row in rows)
    else:
        needed = min(len(row.input_ids) for row in rows)
    longest = max(len(row.input_ids) for row in rows)
    share = round(100 * sum(len(row.input_ids) > limit for row in rows) / len(rows))
    return refusal("D30_all_too_long", percent=share, limit=limit, needed=needed, longest=longest)


def _pieces(tokenizer: Any, row: Rendered) -> list[Piece]:
    """Each token's text; the tokens of one character wait until it is whole (at most four bytes, so four tokens)."""
    pieces: list[Piece] = []
    before: list[int] = []
    waiting: list[int] = []
    for token, label in zip(row.input_ids, row.labels, strict=True):
        waiting.append(token)
        text = _decoded(tokenizer, before + waiting)[len(_decoded(tokenizer, before)) :]
        whole = not text.endswith("\ufffd") or len(waiting) == 4
        pieces.append(Piece(text if whole else "", label != NOT_TRAINED, token))
        if whole:
            before, waiting = waiting, []
    return pieces


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

"""A refusal or a bug as OpenAI's clients expect an error: an HTTP status and `{"error": {message, type, param, code}}`.

Owns that translation. The words are the catalogue's, in the first language of `Accept-Language` that we speak; `code`
is OpenAI's own where it has one for the case, else the code of our catalogue.
"""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from core.errors import WorkbenchError, excerpt, refusal
from core.i18n import LANGUAGES, Language

log = logging.getLogger("workbench.api")

INVALID, MISSING, CONFLICT, FULL, BUSY, TOO_LARGE = 400, 404, 409, 507, 503, 413
# By the key of the first problem, else by its code; the rest are INVALID.
_STATUS = {
    "A25_api_key_missing": 401,
    "A25_api_key_wrong": 401,
    "A25_api_closed": 403,
    "A26_no_such_route": MISSING,
    "A26_wrong_method": 405,
    "A26_body_too_large": TOO_LARGE,
    "A26_not_json_type": 415,
    "A26_not_a_form": 415,
    "A26_api_bug": 500,
    "D18_file_too_big": TOO_LARGE,
    "M25_no_such_adapter": MISSING,
    "M25_not_applied": MISSING,
    "A01": CONFLICT,
    "A03": MISSING,
    "A04": CONFLICT,
    "A07": CONFLICT,
    "A10": BUSY,
    "A13": FULL,
    "A14": FULL,
    "A20": BUSY,
    "A27": 429,
    "A30": MISSING,
}
_CODE = {
    "A25_api_key_missing": "invalid_api_key",
    "A25_api_key_wrong": "invalid_api_key",
    "A26_no_such_route": "unknown_url",
    "A27_chat_is_busy": "rate_limit_exceeded",
    "A03_no_such_model": "model_not_found",
    "A03_no_model": "model_not_found",
    "A03_other_model": "model_not_found",
    "H01_not_a_parameter": "unknown_parameter",
    "H01_not_offered": "unsupported_parameter",
    "H01_needed": "missing_required_parameter",
    "H11_prompt_too_long": "context_length_exceeded",
    "H11_prompt_too_large": "context_length_exceeded",
    "H11_conversation_too_long": "context_length_exceeded",
}
# OpenAI's clients try these again by themselves, where only waiting helps.
_WORTH_A_RETRY = {429, BUSY}


@dataclass(frozen=True)
class ErrorAnswer:
    """An error as it is sent."""

    status: int
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"x-should-retry": "true" if self.status in _WORTH_A_RETRY else "false"}


def error_answer(error: Exception, lang: Language) -> ErrorAnswer:
    """What is answered to a failure; one that is no refusal is logged in full and named by its reference."""
    refused = _as_refusal(error)
    first = refused.problems[0]
    status = _STATUS.get(first.key) or _STATUS.get(first.code, INVALID)
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    told = {
        "message": refused.describe(lang),
        "type": kind,
        "param": first.place.field or None,
        "code": _CODE.get(first.key, first.code),
    }
    return ErrorAnswer(status, {"error": told})


def language_of(accepted: str) -> Language:
    """The first language of an `Accept-Language` header that we speak; English where there is none."""
    asked = [word.lower() for word in re.findall(r"[A-Za-z]+", re.sub(r";[^,]*|-[\w-]*", "", accepted))]
    return next((lang for word in asked for lang in LANGUAGES if lang == word), "en")


def _as_refusal(error: Exception) -> WorkbenchError:
    if isinstance(error, WorkbenchError):
        log.info("refused: %s", error)
        return error
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        return refusal("A26_no_such_route" if error.status_code == MISSING else "A26_wrong_method")
    reference = secrets.token_hex(4)
    log.error("bug %s", reference, exc_info=error)
    return refusal("A26_api_bug", reference=excerpt(reference))

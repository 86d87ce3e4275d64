"""Upstream's words, made fit to be shown: no key, no signed address, no page of HTML, no end of length."""

import re
from typing import Any

MAX_TEXT = 500

_QUERY = re.compile(r"""(https?://[^\s"'<>?#]*)[?#][^\s"'<>]*""", re.IGNORECASE)
_TOKEN = re.compile(r"(/v1/upstream/callback/)[^\s\"'<>?#]+")
_USERINFO = re.compile(r"(https?://)[^\s/@\"'<>]+@", re.IGNORECASE)
_SECRET = re.compile(r"(?i)\b(bearer\s+|whsec_)[^\s\"'<>,;]+")
_PAGE_PARTS = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")


def clean_text(text: str, secret: str = "") -> str:
    """Shorten a text to one line and cut out `secret`, other credentials, tokens, and what follows an address's `?`."""
    if not text:
        return ""
    if secret:
        text = text.replace(secret, "[key]")
    text = _TOKEN.sub(r"\1…", _SECRET.sub(r"\1…", _USERINFO.sub(r"\1", text[: 8 * MAX_TEXT])))
    text = _QUERY.sub(r"\1?…", text)
    if "<" in text and ">" in text:
        text = _PAGE_PARTS.sub(" ", text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def said(document: Any, body_text: str = "") -> str:
    """Collect what an answer says is wrong, from any of the shapes upstream uses (raw: clean it before showing)."""
    if not isinstance(document, dict):
        return body_text
    data = document.get("data")
    parts = [document.get(name) for name in ("message", "error", "detail")]
    if isinstance(data, dict):
        parts += [data.get("error"), data.get("message")]
    found = dict.fromkeys(text for part in parts if (text := _as_text(part)) and text.lower() != "success")
    return "; ".join(found) or _as_text(document.get("error_code"))


def _as_text(part: Any) -> str:
    if isinstance(part, dict):
        part = part.get("message") or part.get("error") or ""
    return part.strip() if isinstance(part, str) else ""


_WORD = re.compile(r"[^\W_]+")


def without_echo(text: str, prompt: str) -> str:
    """Take the job's own words out of an answer: the whole prompt, and any three words in a row that it shares.

    So a prompt about a balance can't look like an empty one, while upstream's own short message still can.
    """
    text = re.sub(re.escape(prompt), " ", text, flags=re.IGNORECASE) if prompt else text
    own = [word.lower() for word in _WORD.findall(prompt)]
    triples = set(zip(own, own[1:], own[2:], strict=False))
    words = _WORD.findall(text)
    lowered = [word.lower() for word in words]
    echoed = [False] * len(words)
    for at, triple in enumerate(zip(lowered, lowered[1:], lowered[2:], strict=False)):
        if triple in triples:
            echoed[at : at + 3] = [True] * 3
    return " ".join(word for word, is_echo in zip(words, echoed, strict=True) if not is_echo)


def without_words_of(prompt: str, text: str) -> str:
    """Take out every word that the prompt has as well; what is left is certainly upstream's own."""
    own = {word.lower() for word in _WORD.findall(prompt)}
    return " ".join(word for word in _WORD.findall(text) if word.lower() not in own)


def tells_of_callback(text: str) -> bool:
    """Tell whether a refusal is about the address to call back."""
    return bool({word.lower() for word in _WORD.findall(text)} & {"webhook", "callback"})


def tells_of_balance(text: str) -> bool:
    """Tell whether a refusal is about money; upstream's words for it are known only roughly."""
    words = {word.lower() for word in _WORD.findall(text)}
    return bool(words & {"insufficient", "balance", "credit", "credits"})

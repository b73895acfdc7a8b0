"""What each token id says, and how a vocabulary writes the lexicon's words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lensbench.errors import ModelError
from lensbench.lexicon import Lexicon, variants
from lensbench.scripts import scripts_of

#: Sixty times the largest vocabulary of a published model.
_MOST_TOKENS = 2**24
#: SentencePiece's mark of a space.
_SPACE = "\u2581"


def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + index): byte for index, byte in enumerate(rest)}


def _decoder_types(tokenizer: Any) -> set[str]:
    """Return the kinds of step in a fast tokenizer's decoder; none for a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    tree = json.loads(backend.to_str())["decoder"] if backend is not None else None
    if not tree:
        return set()
    return {step["type"] for step in tree.get("decoders", [tree])}


def check_numbers(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that numbers a token so high that no vocabulary reaches it.

    The library that writes a tokenizer down walks through all numbers up to the highest, and ends
    the process where the gaps don't fit into memory.

    Args:
        tokenizer: a transformers tokenizer.
        name: the model's name, for the error's sentence.

    Raises:
        ModelError: naming the token.
    """
    token, number = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", 0))
    if number >= _MOST_TOKENS:
        raise ModelError(
            f"{name}'s tokenizer numbers the token {token!r} {number:,}, where no vocabulary has "
            f"more than {_MOST_TOKENS:,}: copy the model anew."
        )


def token_texts(tokenizer: Any, vocab_size: int) -> tuple[list[str], list[bool], list[bool]]:
    """Return what each of V token ids says by itself, leading space kept.

    Args:
        tokenizer: a transformers tokenizer: byte-level (GPT-2, Qwen2), SentencePiece (Llama) or any
            other, whose tokens are then decoded one by one.
        vocab_size: number of logits V; ids that the tokenizer doesn't know are special and empty.

    Returns:
        texts, whether each is a fragment (its bytes are no whole characters), whether each is a
        control or added token. A fragment's bytes are shown as "<0xE4>".
    """
    kinds, table = _decoder_types(tokenizer), _byte_of_character()
    added = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
    known = {index: token for token, index in tokenizer.get_vocab().items()}
    texts, fragments, specials = [], [], []
    for index in range(vocab_size):
        token = known.get(index)
        special = token is None or index in added
        if special or token is None:
            text, fragment = token or "", False
        elif "ByteLevel" in kinds and all(character in table for character in token):
            text, fragment = _decoded(bytes(table[character] for character in token))
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            text, fragment = _decoded(bytes([int(token[3:5], 16)]))
        elif kinds:
            text, fragment = token.replace(_SPACE, " "), False
        else:
            text, fragment = tokenizer.decode([index]), False
        texts.append(text)
        fragments.append(fragment)
        specials.append(special)
    return texts, fragments, specials


def _decoded(raw: bytes) -> tuple[str, bool]:
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw), True


def vocabulary_table(tokenizer: Any, vocab_size: int) -> pd.DataFrame:
    """Return the `vocabulary` table: token_id, text, script, is_fragment; one row a logit."""
    texts, fragments, specials = token_texts(tokenizer, vocab_size)
    return pd.DataFrame(
        {
            "token_id": range(vocab_size),
            "text": texts,
            "script": scripts_of(texts, fragments, specials),
            "is_fragment": fragments,
        }
    )


def forms_table(tokenizer: Any, vocabulary: pd.DataFrame, lexicon: Lexicon) -> pd.DataFrame:
    """Return the `forms` table: every spelling of every concept, as the tokens it is written with.

    A spelling that is a token of its own is that token; any other is cut by the tokenizer. Blank
    tokens that it begins with are left out, as an answer is read where its first word is. The first
    token alone stands for the spelling (`kept`) unless it is a fragment of a character or too
    short; whether another answer shares it depends on the dataset: `without_shared`.

    Args:
        tokenizer: the model's tokenizer.
        vocabulary: its `vocabulary_table`.
        lexicon: concepts with their forms.

    Returns:
        Columns concept, language, form, token_id, token_ids, token_text, n_tokens, kept, reason.
    """
    special = vocabulary["script"] == "Special"
    usable = ~(vocabulary["is_fragment"] | special)
    texts = vocabulary["text"].tolist()
    whole: dict[str, int] = {}
    for index in vocabulary.loc[usable, "token_id"]:
        whole.setdefault(texts[index], int(index))
    specials = set(vocabulary.loc[special, "token_id"])
    fragments = set(vocabulary.loc[vocabulary["is_fragment"], "token_id"])
    rows: dict[tuple[str, str, str], list[int]] = {}
    for concept in lexicon.concepts:
        for language, form in lexicon.forms(concept):
            for spelling in variants(form):
                key = (concept, language, spelling)
                if key not in rows:
                    rows[key] = _tokens(tokenizer, spelling, whole, texts)
    table = []
    for (concept, language, form), ids in sorted(rows.items()):
        reason = ""
        if not ids or not specials.isdisjoint(ids):
            reason = "unknown"
        elif ids[0] in fragments:
            reason = "fragment"
        elif len(ids) > 1 and too_short(texts[ids[0]], form):
            reason = "too short"
        table.append(
            {
                "concept": concept,
                "language": language,
                "form": form,
                "token_id": ids[0] if ids else -1,
                "token_ids": ids,
                "token_text": texts[ids[0]] if ids else "",
                "n_tokens": len(ids),
                "kept": not reason,
                "reason": reason,
            }
        )
    columns = [
        "concept", "language", "form", "token_id", "token_ids", "token_text", "n_tokens", "kept",
        "reason",
    ]  # fmt: skip
    return pd.DataFrame(table, columns=columns)


def without_shared(forms: pd.DataFrame, golds: Iterable[str]) -> pd.DataFrame:
    """Return the forms as a dataset with these golds reads them by their first tokens.

    A first token that begins forms of two answers of the dataset says which of them is meant only
    together with the tokens after it, so that it stands for neither.

    Args:
        forms: a `forms` table.
        golds: the gold concepts of all samples of the dataset.

    Returns:
        The table, with `kept` false and `reason` "shared with …" where a gold other than the
        form's own concept has a form with the same first token.
    """
    known = forms[forms["token_id"] >= 0]
    of_golds = known[known["concept"].isin(set(golds))]
    owners = of_golds.groupby("token_id")["concept"].agg(lambda names: sorted(set(names)))
    reasons = [
        next((f"shared with {other}" for other in owners.get(token, ()) if other != concept), "")
        if kept
        else reason
        for concept, token, kept, reason in zip(
            forms["concept"], forms["token_id"], forms["kept"], forms["reason"], strict=True
        )
    ]
    return forms.assign(kept=[not reason for reason in reasons], reason=reasons)


def text_ends(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return where the text of each generated token ends, in characters of the text decoded whole.

    A character whose bytes several tokens hold ends with the first of them, which begins it.

    Args:
        tokenizer: the model's tokenizer.
        ids: the tokens generated.
    """
    ends = [
        len(tokenizer.decode(ids[: index + 1], skip_special_tokens=True))
        for index in range(len(ids))
    ]
    # Half a character may be shown as several marks, or as none, until its last byte is there.
    for index in range(len(ends) - 2, -1, -1):
        ends[index] = min(ends[index], ends[index + 1])
    return ends


def too_short(piece: str, form: str) -> bool:
    """Say whether a form's first token says too little of it: "do" may be doce, dog or do.

    It must hold half of the form's characters, and three of them in a script with cases, whose
    short pieces begin many words.
    """
    said, whole = len(piece.strip()), len(form.strip())
    return 2 * said < whole or (said < 3 and form.lower() != form.upper())


def _tokens(tokenizer: Any, spelling: str, whole: dict[str, int], texts: list[str]) -> list[int]:
    """Return the tokens of a spelling, none where the model gives one of them no logit."""
    if spelling in whole:
        return [whole[spelling]]
    ids = tokenizer(spelling, add_special_tokens=False)["input_ids"]
    if any(token >= len(texts) for token in ids):
        return []
    # SentencePiece puts a space before every text.
    while len(ids) > 1 and not texts[ids[0]].strip():
        ids = ids[1:]
    return list(ids)

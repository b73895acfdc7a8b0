"""What each token id says, and how a vocabulary writes the lexicon's words."""

from __future__ import annotations

import json
from collections import defaultdict
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
    """Return the `forms` table: every spelling of every concept, and its first token.

    A spelling that is a token of its own is that token; any other is cut by the tokenizer. A first
    token that concepts share stands for none of them, with one exception: a token that is a whole
    spelling of one concept alone stands for that one (三 is "three", though 三角形, "triangle",
    starts with it), and only the longer spellings of the others are left out. A first token that
    is too short to stand for its spelling is left out too.

    Args:
        tokenizer: the model's tokenizer.
        vocabulary: its `vocabulary_table`.
        lexicon: concepts with their forms.

    Returns:
        Columns concept, language, form, token_id, token_text, n_tokens, kept, reason.
    """
    usable = ~(vocabulary["is_fragment"] | (vocabulary["script"] == "Special"))
    texts = vocabulary["text"].tolist()
    whole: dict[str, int] = {}
    for index in vocabulary.loc[usable, "token_id"]:
        whole.setdefault(texts[index], int(index))
    rows: dict[tuple[str, str, str], tuple[int, int]] = {}
    for concept in lexicon.concepts:
        for language, form in lexicon.forms(concept):
            for spelling in variants(form):
                key = (concept, language, spelling)
                rows.setdefault(key, _first_token(tokenizer, spelling, whole, texts))
    owners: dict[int, set[str]] = defaultdict(set)
    whole_owners: dict[int, set[str]] = defaultdict(set)
    for (concept, _, _), (token, n_tokens) in rows.items():
        owners[token].add(concept)
        if n_tokens == 1:
            whole_owners[token].add(concept)
    for token, found in whole_owners.items():
        if len(found) == 1:
            owners[token] = found
    usable_ids = set(vocabulary.loc[usable, "token_id"])
    fragments = set(vocabulary.loc[vocabulary["is_fragment"], "token_id"])
    table = []
    for (concept, language, form), (token, n_tokens) in sorted(rows.items()):
        others = sorted(owners[token] - {concept})
        reason = ""
        if token < 0 or (token not in usable_ids and token not in fragments):
            reason = "unknown"
        elif token in fragments:
            reason = "fragment"
        elif not texts[token].strip():
            reason = "blank"
        elif others:
            reason = f"shared with {others[0]}"
        elif n_tokens > 1 and too_short(texts[token], form):
            reason = "too short"
        table.append(
            {
                "concept": concept,
                "language": language,
                "form": form,
                "token_id": token,
                "token_text": texts[token] if token >= 0 else "",
                "n_tokens": n_tokens,
                "kept": not reason,
                "reason": reason,
            }
        )
    columns = [
        "concept",
        "language",
        "form",
        "token_id",
        "token_text",
        "n_tokens",
        "kept",
        "reason",
    ]
    return pd.DataFrame(table, columns=columns)


def too_short(piece: str, form: str) -> bool:
    """Say whether a form's first token says too little of it: "do" may be doce, dog or do.

    It must hold half of the form's characters, and three of them in a script with cases, whose
    short pieces begin many words.
    """
    said, whole = len(piece.strip()), len(form.strip())
    return 2 * said < whole or (said < 3 and form.lower() != form.upper())


def _first_token(
    tokenizer: Any, spelling: str, whole: dict[str, int], texts: list[str]
) -> tuple[int, int]:
    """Return a spelling's first token and how many tokens it takes; (-1, 0) if it takes none."""
    if spelling in whole:
        return whole[spelling], 1
    ids = tokenizer(spelling, add_special_tokens=False)["input_ids"]
    # SentencePiece puts a space before every text; it is no part of a word written without one.
    if len(ids) > 1 and not spelling.startswith(" ") and not texts[ids[0]].strip(" "):
        ids = ids[1:]
    known = [token for token in ids if token < len(texts)]
    return (known[0], len(known)) if known else (-1, 0)

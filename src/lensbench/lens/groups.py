"""Groups of tokens whose probability is added up: scripts of a vocabulary, forms of concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lensbench.errors import ModelError


@dataclass(frozen=True)
class TokenGroups:
    """The groups of one vocabulary.

    Args:
        scripts: [V, S] float32, 1 where a token is written in a script; every row sums to 1.
        forms: for each concept, the ids of its usable first tokens with the index of each one's
            language; an id is there once.
        n_languages: number of languages C.
    """

    scripts: Tensor
    forms: Mapping[str, tuple[tuple[int, int], ...]]
    n_languages: int

    def of(self, concepts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the form ids of each concept and their languages.

        Args:
            concepts: n concept ids; one without usable forms gets a row of -1.

        Returns:
            ids [n, G] and languages [n, G], int64, -1 where there is none, on the scripts' device.
        """
        found = [self.forms.get(concept, ()) for concept in concepts]
        width = max((len(forms) for forms in found), default=0) or 1
        ids = torch.full((len(found), width), -1, dtype=torch.int64)
        languages = torch.full((len(found), width), -1, dtype=torch.int64)
        for row, forms in enumerate(found):
            for column, (token, language) in enumerate(forms):
                ids[row, column], languages[row, column] = token, language
        return ids.to(self.scripts.device), languages.to(self.scripts.device)


def token_groups(
    vocabulary: pd.DataFrame,
    forms: pd.DataFrame,
    scripts: Sequence[str],
    languages: Sequence[str],
    vocab_size: int,
    device: torch.device | str = "cpu",
) -> TokenGroups:
    """Return the groups of a model's `vocabulary` and `forms` tables.

    A token that starts forms of one concept in two languages counts for the first of them.

    Args:
        vocabulary: columns token_id, script; one row for each of the V logits.
        forms: columns concept, language, token_id, kept.
        scripts: labels of the S scripts, in order.
        languages: labels of the C languages, in order.
        vocab_size: number of logits V.
        device: where the tensors are put.

    Raises:
        ModelError: if the vocabulary doesn't have a row for each logit.
    """
    if sorted(vocabulary["token_id"]) != list(range(vocab_size)):
        raise ModelError(
            f"The vocabulary table has {len(vocabulary)} tokens for {vocab_size} logits: make it "
            "again from the same model."
        )
    column = {label: index for index, label in enumerate(scripts)}
    matrix = np.zeros((vocab_size, len(scripts)), dtype=np.float32)
    matrix[vocabulary["token_id"], vocabulary["script"].map(column)] = 1.0
    order = {label: index for index, label in enumerate(languages)}
    kept: dict[str, dict[int, int]] = {}
    usable = forms[forms["kept"]]
    columns = (usable[name].tolist() for name in ("concept", "language", "token_id"))
    for concept, language, token in zip(*columns, strict=True):
        tokens = kept.setdefault(concept, {})
        tokens[token] = min(order[language], tokens.get(token, order[language]))
    return TokenGroups(
        scripts=torch.from_numpy(matrix).to(device),
        forms={name: tuple(sorted(tokens.items())) for name, tokens in sorted(kept.items())},
        n_languages=len(languages),
    )

"""What a look found: tidy tables, a figure, and what a notebook and a terminal show of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from rich.table import Table
from rich.text import Text

from lensbench.errors import LensbenchError
from lensbench.figures import look as drawing
from lensbench.figures.fonts import printable
from lensbench.look_views import (
    View,
    best_layers,
    layers_view,
    part_views,
    patch_grid,
    patch_list,
    position_view,
    shown,
)
from lensbench.notebook import page
from lensbench.terminal import as_text, terminal_width, view_tables

#: How many of its top tokens are drawn of a single position.
_PLACES = 5
_PATCHES = "patches at their best layers (of 1 to L)"
_LEGEND = {
    "answer": "Color: probability. Marked: the token that the model writes at that step.",
    "prompt": "Color: probability. Marked: the token that the last layer says at that position.",
    "image": "Color: probability. Each patch stands at the layer where its top token is likeliest.",
}


@dataclass(frozen=True, repr=False, eq=False)
class Look:
    """One prompt, read out layer by layer.

    Layer 0 is the residual stream after the embeddings, layer L after the last block. Ranks count
    from 0; logarithms are natural.

    Args:
        model: the model's name.
        source: where it comes from.
        revision: its commit, "" unless it is a hub's.
        lens: "normed" or "raw".
        positions: what was asked for: "answer", "prompt" or "image".
        prompt: the whole text that the model was given.
        prompt_tokens: what each of its T positions says.
        generated: what the model answered, special tokens left out.
        tokens: the answer token by token.
        layers: the L + 1 layers' numbers.
        picture: the picture it was asked about, if any.
        answer: one row a step of the answer × layer × rank.
        heads: one row a step × layer × head.
        prompt_readout: one row a position of the prompt × layer × rank, if asked for.
        patches: one row an image position × layer × rank, if asked for.
        parts: one row a block × part × reading × rank, if asked for.
    """

    model: str
    source: str
    revision: str
    lens: str
    positions: str
    prompt: str
    prompt_tokens: tuple[str, ...]
    generated: str
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    picture: Image.Image | None
    answer: pd.DataFrame
    heads: pd.DataFrame
    prompt_readout: pd.DataFrame | None = None
    patches: pd.DataFrame | None = None
    parts: pd.DataFrame | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return the top tokens of the positions asked for: one row a position, layer and rank.

        Columns: `position` in the prompt (and `step` of the answer, or `view` of the image with
        `row` and `col` in it), `layer`, `rank` in the list of top tokens, `token_id`, `token`,
        `probability`, `logprob`, `entropy_nats`; of steps and prompt positions also `final_id`,
        `final_token` and `final_rank`, the token that the last layer says there and its rank at
        this layer.
        """
        found = {"prompt": self.prompt_readout, "image": self.patches}.get(self.positions)
        return (self.answer if found is None else found).copy()

    def heads_frame(self) -> pd.DataFrame:
        """Return where each head looks from the last position: one row a step, layer and head."""
        return self.heads.copy()

    def patches_frame(self) -> pd.DataFrame:
        """Return the top tokens of every image position: one row a position, layer and rank.

        Raises:
            LensbenchError: if the image positions weren't asked for.
        """
        return _asked(self.patches, "image positions", 'positions="image"').copy()

    def parts_frame(self) -> pd.DataFrame:
        """Return what attention and MLP of each block write: a row a block, part, reading and rank.

        Raises:
            LensbenchError: if the parts weren't asked for.
        """
        return _asked(self.parts, "parts of blocks", "parts=True").copy()

    def to_json(self) -> str:
        """Return what was asked, what was answered and the rows of `to_frame` as JSON in ASCII."""
        rows = self.to_frame().astype(object)
        tree = {
            "model": self.model,
            "source": self.source,
            "revision": self.revision,
            "lens": self.lens,
            "prompt": self.prompt,
            "generated": self.generated,
            "rows": rows.where(rows.notna(), None).to_dict("records"),
        }
        return json.dumps(tree, indent=1)

    def plot(self, layer: int | None = None) -> Figure:
        """Draw the top token of each layer and position, colored by its probability.

        Image positions are drawn where they lie in the picture, each at the layer where its top
        token is likeliest.

        Args:
            layer: draw all image positions at this layer instead.

        Raises:
            LensbenchError: if there is no such layer, or it is given for other positions.
        """
        title = f"{printable(self.model, 40)} · {self.lens} lens"
        if self.positions != "image":
            if layer is not None:
                raise LensbenchError('A layer is chosen for positions="image" alone.')
            frame, by, heads, _ = self._laid_out()
            if len(heads) == 1:
                # Room for its whole list: the places of the list stand where positions would.
                by, places = "rank", range(min(_PLACES, frame["rank"].nunique()))
                heads = {place: f"top {place + 1}" for place in places}
            drawn = _visible(frame[frame["rank"] < (_PLACES if by == "rank" else 1)])
            return drawing.draw_positions(drawn, by, heads, title, self._said())
        patches = self.patches_frame()
        if layer is None:
            rows = best_layers(patches)
        elif layer in self.layers:
            rows = patches[patches["layer"] == layer]
            title = f"{title} · layer {layer}"
        else:
            raise LensbenchError(f"There is no layer {layer}: layers are 0 to {self.layers[-1]}.")
        drawn = _visible(rows[rows["rank"] == 0])
        return drawing.draw_patches(drawn, title, self._said())

    def views(self) -> list[View]:
        """Return all that was asked for in full: a table a position, its top tokens across."""
        parts = [] if self.parts is None else part_views(self.parts)
        if self.positions == "image":
            return [patch_list(self.patches_frame(), _PATCHES), *parts]
        frame, by, _, titles = self._laid_out()
        positions = [
            position_view(frame[frame[by] == place], title) for place, title in titles.items()
        ]
        return [*positions, *parts]

    def overview(self) -> View:
        """Return all positions in one table, the top token alone where there are several."""
        if self.positions == "image":
            patches = self.patches_frame()
            return (patch_list if patches["view"].isna().all() else patch_grid)(patches, _PATCHES)
        frame, by, heads, titles = self._laid_out()
        if len(heads) == 1:
            ((place, title),) = titles.items()
            return position_view(frame[frame[by] == place], title)
        return layers_view(frame, by, heads, f"top token by layer and {by}")

    def tables(self) -> list[Table | Text]:
        """Return the header and all `views` as a terminal shows them."""
        views, width = self.views(), terminal_width()
        parts: list[Table | Text] = [*self._header_lines()]
        for view, below in zip(views, [*views[1:], None], strict=True):
            # A note that the next table repeats is said once, below the last of them.
            same = below is not None and below.note == view.note
            parts += [Text(""), *view_tables(replace(view, note="") if same else view, width)]
        return parts

    def header(self) -> list[tuple[str, str]]:
        """Return what a reader must know of a look before its tables, as names and texts."""
        source = f"{self.source} @ {self.revision}" if self.revision else self.source
        lens = f"{self.lens} lens"
        return [
            ("model", f"{printable(self.model)} ({printable(source)}), {lens}"),
            ("prompt", printable(_shortened(self.prompt))),
            ("answer", printable(self.generated) if self.generated else "(nothing)"),
        ]

    def _said(self) -> str:
        return f"{printable(_shortened(self.prompt))} → {printable(self.generated or ' ')}"

    def _laid_out(self) -> tuple[pd.DataFrame, str, dict[Any, str], dict[Any, str]]:
        """Return the positions shown, the column that tells them apart, their heads and titles."""
        if self.prompt_readout is None or self.positions != "prompt":
            heads = {step: shown(token) for step, token in enumerate(self.tokens)}
            titles = {step: f"step {step} writes {text}" for step, text in heads.items()}
            return self.answer, "step", heads, titles
        # Image positions say little of the words; they have a view of their own.
        frame = self.prompt_readout[~self.prompt_readout["is_image"]]
        first = frame.drop_duplicates("position")
        heads, titles = {}, {}
        for place, token, final in zip(
            first["position"], first["prompt_token"], first["final_token"], strict=True
        ):
            heads[place] = shown(token)
            titles[place] = f"position {place}, {heads[place]}, then {shown(final)}"
        return frame, "position", heads, titles

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        parts = [] if self.parts is None else part_views(self.parts)
        views = [self.overview(), *parts]
        return page(self.header(), views, _LEGEND[self.positions], self.picture)

    def __repr__(self) -> str:
        width, overview = terminal_width(), self.overview()
        # Positions go on below; of a position's list the first places are enough.
        tables = view_tables(overview, width, fold=not overview.tail)
        return as_text([*self._header_lines(), *tables], width)

    def _header_lines(self) -> list[Text]:
        return [Text(f"{name:<7}{text}") for name, text in self.header()]


def _visible(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with tokens of which every character is seen."""
    return frame.assign(token=[shown(token) for token in frame["token"]])


def _asked(frame: pd.DataFrame | None, what: str, how: str) -> pd.DataFrame:
    if frame is None:
        raise LensbenchError(f"This look has no {what}: ask for them with {how}.")
    return frame


def _shortened(text: str, most: int = 400) -> str:
    """Return a text with its middle left out where it is long."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"

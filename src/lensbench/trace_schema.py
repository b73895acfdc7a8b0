"""The one schema of a trace: every table, every column, its type, unit and limits.

Natural logarithms everywhere. Layer 0 is after the embeddings, layer L after the last block; ranks
count from 0; step 0 is the position that predicts the first generated token. A change of meaning,
type or name here is a new SCHEMA_VERSION, and shards of another version are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 4

LOG2 = 0.6931471805599453
#: What float32 sums over a vocabulary of 10^5 tokens may be off by, in nats or in mass.
SLACK = 1e-3


@dataclass(frozen=True)
class Column:
    """One column of a trace table.

    Args:
        name: its name in the file.
        type: the Arrow type of one value, or of one element where `width` is given.
        meaning: what it holds, with its unit.
        width: "" for one value a row, else which list a row holds: "k" (the readout's top k),
            "scripts" or "languages" (in the order of the metadata), "any" (a list of any length).
        low: the smallest value allowed.
        high: the largest value allowed.
        nullable: whether null is allowed and means something.
    """

    name: str
    type: pa.DataType
    meaning: str
    width: str = ""
    low: float | None = None
    high: float | None = None
    nullable: bool = False

    def arrow(self, widths: dict[str, int]) -> pa.DataType:
        """Return the Arrow type in the file, given how many k, scripts and languages there are."""
        if not self.width:
            return self.type
        if self.width == "any":
            return pa.list_(self.type)
        return pa.list_(self.type, widths[self.width])


@dataclass(frozen=True)
class Table:
    """One table of a trace: its columns in order, and the columns that tell its rows apart."""

    name: str
    row: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column of that name (KeyError if there is none)."""
        return {column.name: column for column in self.columns}[name]

    def arrow(self, widths: dict[str, int]) -> pa.Schema:
        """Return the Arrow schema of the file, without metadata."""
        return pa.schema(
            [pa.field(c.name, c.arrow(widths), nullable=c.nullable) for c in self.columns]
        )


_TEXT, _ID, _REAL, _FLAG = pa.string(), pa.int32(), pa.float32(), pa.bool_()

_SAMPLE_ID = Column("sample_id", _TEXT, "the sample, as in the manifest")
_STEP = Column("step", _ID, "generated position; 0 predicts the first generated token", low=0)
_LAYER = Column("layer", _ID, "0 after the embeddings … L after the last block", low=0)
_MASS: dict[str, Any] = {"low": -SLACK, "high": 1 + SLACK}
_LOGPROB: dict[str, Any] = {"high": SLACK}

# What the lens keeps of a position that is not an answer's.
_TOPS = (
    Column("top_id", _ID, "the k likeliest token ids, likeliest first", width="k", low=0),
    Column("top_logprob", _REAL, "their log-probabilities, nats", width="k", **_LOGPROB),
    Column(
        "entropy_nats",
        _REAL,
        "entropy of p_l, nats; null where an imported lens doesn't tell it",
        low=-SLACK,
        nullable=True,
    ),
)

SAMPLES = Table(
    "samples",
    "a sample",
    ("sample_id",),
    (
        _SAMPLE_ID,
        Column("prompt", _TEXT, "the whole text given to the model, its chat template applied"),
        Column("n_tokens", _ID, "positions of the prompt, image positions included", low=0),
        Column("n_image_tokens", _ID, "image positions of the prompt", low=0),
        Column("grid_h", _ID, "rows of image positions, 0 where there is no grid", low=0),
        Column("grid_w", _ID, "columns of image positions, 0 where there is no grid", low=0),
        Column(
            "views",
            _TEXT,
            "JSON list of the grids the picture's positions lie in: name, rows, cols and box "
            "(left, top, right, bottom in fractions of the picture); the overview first; "
            '"[]" for none',
        ),
        Column("generated", _TEXT, "the text generated, special tokens left out"),
        Column("generated_ids", _ID, "the token ids generated, one a step", width="any", low=0),
        Column(
            "generated_ends",
            _ID,
            "where the text of each of them ends in `generated`, in characters",
            width="any",
            low=0,
        ),
        Column("gold", _TEXT, 'concept id of the true answer, such as "number:3"'),
        Column("language", _TEXT, "language asked for the answer"),
        Column("family", _TEXT, 'kind of question, such as "count"'),
        Column("asked", _TEXT, "the user's own words"),
        Column("image", _TEXT, "picture, relative to the manifest's folder", nullable=True),
        Column(
            "picture",
            _TEXT,
            "the first sample of the dataset that shows the same picture; the sample itself "
            "where there is none",
        ),
        Column("rejected", _TEXT, "why there is no row elsewhere; null if there is", nullable=True),
    ),
)

TRAJECTORY = Table(
    "trajectory",
    "a sample × step × layer",
    ("sample_id", "step", "layer"),
    (
        _SAMPLE_ID,
        _STEP,
        _LAYER,
        Column("top_id", _ID, "the k likeliest token ids, likeliest first", width="k", low=0),
        Column("top_logprob", _REAL, "their log-probabilities, nats", width="k", **_LOGPROB),
        Column("entropy_nats", _REAL, "entropy of p_l, nats", low=-SLACK),
        Column("kl_to_final_nats", _REAL, "KL(p_L ‖ p_l), nats", low=-SLACK),
        Column("js_to_final_nats", _REAL, "JS(p_L, p_l), nats", low=-SLACK, high=LOG2 + SLACK),
        Column("final_id", _ID, "y = argmax p_L, which is top_id[0] at layer L", low=0),
        Column(
            "final_rank", _ID, "tokens with a strictly larger logit than y at this layer", low=0
        ),
        Column("final_logprob", _REAL, "log p_l(y), nats", **_LOGPROB),
        Column(
            "gold_rank",
            _ID,
            "rank of the best-ranked first token of a form of the gold concept that no other gold "
            "of the dataset shares; -1 where there is none, and then gold_logprob is 0",
            low=-1,
        ),
        Column("gold_logprob", _REAL, "log p_l of that token, nats", **_LOGPROB),
        Column("script_mass", _REAL, "mass of p_l on each script", width="scripts", **_MASS),
        Column(
            "concept_mass",
            _REAL,
            "mass of p_l on the gold concept's usable first tokens, by language of the form",
            width="languages",
            **_MASS,
        ),
    ),
)

HEADS = Table(
    "heads",
    "a sample × step × layer × head",
    ("sample_id", "step", "layer", "head"),
    (
        _SAMPLE_ID,
        _STEP,
        Column("layer", _ID, "1 … L: the block whose attention this is", low=1),
        Column("head", _ID, "query head, from 0", low=0),
        Column("image_mass", _REAL, "attention from this position to image positions", **_MASS),
        Column(
            "overview_mass",
            _REAL,
            "the part of it on the first view: the overview where a picture is seen in tiles too",
            **_MASS,
        ),
        Column("sink_mass", _REAL, "attention to position 0 of the unpadded sequence", **_MASS),
        Column(
            "image_sink_mass",
            _REAL,
            "sink_mass where position 0 is an image position, and part of image_mass too; else 0",
            **_MASS,
        ),
        Column("text_mass", _REAL, "attention to all other positions", **_MASS),
        Column(
            "image_entropy_nats",
            _REAL,
            "entropy of the attention over image positions, renormalised to 1, nats; 0 if none",
            low=-SLACK,
        ),
        Column("image_max", _REAL, "largest attention weight on one image position", **_MASS),
    ),
)

PATCHES = Table(
    "patches",
    "a sample × layer × image position",
    ("sample_id", "layer", "patch"),
    (
        _SAMPLE_ID,
        _LAYER,
        Column("patch", _ID, "image position, from 0, in the order of the prompt", low=0),
        Column("position", _ID, "its place in the prompt without padding, from 0", low=0),
        Column("view", _ID, "the view it lies in, from 0; -1 for line ends and the like", low=-1),
        Column("row", _ID, "its row of that view's grid, from 0; -1 beyond it", low=-1),
        Column("col", _ID, "its column of that view's grid, from 0; -1 beyond it", low=-1),
        *_TOPS,
    ),
)

WORDS = Table(
    "words",
    "a sample × layer × position of the prompt that is no image position",
    ("sample_id", "layer", "position"),
    (
        _SAMPLE_ID,
        _LAYER,
        Column("position", _ID, "place in the prompt without padding, from 0", low=0),
        Column("token_id", _ID, "the prompt's token there", low=0),
        *_TOPS,
    ),
)

ATTENTION = Table(
    "attention",
    "a sample × layer × head, at step 0",
    ("sample_id", "layer", "head"),
    (
        _SAMPLE_ID,
        Column("layer", _ID, "1 … L: the block whose attention this is", low=1),
        Column("head", _ID, "query head, from 0", low=0),
        Column(
            "weights",
            _REAL,
            "attention of the last position on each image position, in the order of the prompt",
            width="any",
            **_MASS,
        ),
    ),
)

LENSES = Table(
    "lenses",
    "a sample × lens × layer, at the content step",
    ("sample_id", "lens", "layer"),
    (
        _SAMPLE_ID,
        Column(
            "lens",
            _TEXT,
            '"raw" (no final norm, at no layer), "attention" or "mlp" (what that part of a block '
            'writes, by itself), "mid" (the stream between the two)',
        ),
        Column("layer", _ID, "0 … L for raw, else the block, from 1", low=0),
        Column("top_id", _ID, "the likeliest token id", low=0),
        Column("top_logprob", _REAL, "its log-probability, nats", **_LOGPROB),
        Column("entropy_nats", _REAL, "entropy of p, nats", low=-SLACK),
        Column("kl_to_final_nats", _REAL, "KL(p_L ‖ p), nats; p_L is the model's own", low=-SLACK),
        Column("final_rank", _ID, "rank of y = argmax p_L", low=0),
        Column("final_logprob", _REAL, "log p(y), nats", **_LOGPROB),
        Column("gold_rank", _ID, "rank of the gold token, -1 where there is none", low=-1),
        Column("gold_logprob", _REAL, "its log-probability, nats; 0 where none", **_LOGPROB),
    ),
)

FLOORS = Table(
    "floors",
    "a layer",
    ("layer",),
    (
        _LAYER,
        Column("norm", _REAL, "mean L2 norm of the shard's step-0 residuals here", low=0),
        Column("n_directions", _ID, "seeded random directions read out", low=1),
        Column(
            "script_mass",
            _REAL,
            "mean mass on each script when h_l is a random direction of that norm",
            width="scripts",
            **_MASS,
        ),
    ),
)

VOCABULARY = Table(
    "vocabulary",
    "a token id",
    ("token_id",),
    (
        Column("token_id", _ID, "token id", low=0),
        Column("text", _TEXT, "the token decoded alone, leading space kept"),
        Column("script", _TEXT, "its script, one of the metadata's scripts"),
        Column("is_fragment", _FLAG, "whether its bytes are no whole character"),
    ),
)

FORMS = Table(
    "forms",
    "a form of a concept, as this vocabulary writes it",
    ("concept", "language", "form"),
    (
        Column("concept", _TEXT, 'concept id, such as "number:3"'),
        Column("language", _TEXT, "language of the form"),
        Column("form", _TEXT, "the form, leading space and case as tried"),
        Column("token_id", _ID, "its first token; -1 if it has none", low=-1),
        Column(
            "token_ids",
            _ID,
            "all of its tokens, blank ones before the first left out",
            width="any",
            low=0,
        ),
        Column("token_text", _TEXT, "that token decoded alone"),
        Column("n_tokens", _ID, "how many tokens the form takes", low=0),
        Column("kept", _FLAG, "whether the first token is enough to tell the form by"),
        Column("reason", _TEXT, 'why it was left out; "" if kept'),
    ),
)

#: What a shard's folder holds, in the order it is written.
SHARD_TABLES = (SAMPLES, TRAJECTORY, HEADS, LENSES, FLOORS)
#: What it holds beside them if it was asked for.
ASKED_TABLES = (PATCHES, WORDS, ATTENTION)
#: What a model's folder holds.
MODEL_TABLES = (VOCABULARY, FORMS)
#: What the folder of an imported lens holds: it has a vocabulary of its own.
IMPORT_TABLES = (SAMPLES, PATCHES, WORDS, VOCABULARY)
TABLES = {table.name: table for table in SHARD_TABLES + ASKED_TABLES + MODEL_TABLES}

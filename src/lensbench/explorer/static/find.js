// Where a token is: over all positions and layers, among the top k.

const found = { cells: null, list: [], positions: new Set(), at: -1, indices: new Set() };

const plain = (text) => text.trim().toLowerCase();

/** Return the indices of the tokens that a typed text means. */
function meant(text, part) {
  const typed = text.replaceAll("␣", " ");
  const wanted = plain(typed);
  const indices = new Set();
  if (!typed) return indices;
  data.tokens.text.forEach((token, index) => {
    const same = wanted === "" ? token === typed : plain(token) === wanted;
    if (same || tokenText(index) === text || (part && wanted && plain(token).includes(wanted))) {
      indices.add(index);
    }
  });
  return indices;
}

/** Look for the state's token; `found` then says where it is. */
function lookUp() {
  const { positions, layers, k } = data;
  found.indices = meant(state.token, state.part);
  found.cells = new Uint8Array(layers * positions); // 1 + rank, 0 where it is not.
  found.list = [];
  found.positions = new Set();
  found.at = -1;
  if (!found.indices.size) return;
  const wanted = new Uint8Array(data.tokens.text.length);
  for (const index of found.indices) wanted[index] = 1;
  const { ids } = data.arrays;
  for (let cell = 0; cell < layers * positions; cell += 1) {
    for (let rank = 0; rank < k; rank += 1) {
      if (wanted[ids[cell * k + rank]]) {
        found.cells[cell] = rank + 1;
        break;
      }
    }
  }
  // In reading order: along the layers of a position, then on to the next.
  for (let position = 0; position < positions; position += 1) {
    for (let layer = 0; layer < layers; layer += 1) {
      if (found.cells[layer * positions + position]) {
        found.list.push([position, layer]);
        found.positions.add(position);
      }
    }
  }
}

/** Return the code of the found token's probability in a cell, or null. */
function foundCode(layer, position) {
  const rank = found.cells[layer * data.positions + position];
  return rank ? data.code(layer, position, rank - 1) : null;
}

/** Step to the next hit (1) or the one before (-1), from where the choice stands. */
function stepToHit(direction) {
  const n = found.list.length;
  if (!n) return null;
  if (found.at < 0) {
    const [position, layer] = [state.selected, state.layer];
    const after = found.list.findIndex(([p, l]) => p > position || (p === position && l >= layer));
    const start = after < 0 ? 0 : after;
    found.at = direction > 0 ? start : (start - 1 + n) % n;
  } else {
    found.at = (found.at + direction + n) % n;
  }
  return found.list[found.at];
}

// From the packed payload to arrays: base 64, deflate, byte planes (see packing.py).

const NONE = 65535;
const FRAGMENT = 1;
const BLANK = 2;

async function inflated(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackBlob(blob) {
  const bytes = await inflated(blob.data);
  if (blob.width === 1) return bytes;
  const n = bytes.length / blob.width;
  const values = blob.width === 2 ? new Uint16Array(n) : new Uint32Array(n);
  for (let plane = 0; plane < blob.width; plane += 1) {
    const start = plane * n;
    const shift = 8 * plane;
    for (let i = 0; i < n; i += 1) values[i] |= bytes[start + i] << shift;
  }
  return values;
}

/** Return the page's data with arrays in the place of its blobs. */
async function unpack(packed) {
  const names = Object.keys(packed.blobs);
  const arrays = await Promise.all(names.map((name) => unpackBlob(packed.blobs[name])));
  const data = { ...packed, arrays: Object.fromEntries(names.map((name, i) => [name, arrays[i]])) };
  data.top = (layer, position, rank = 0) =>
    data.arrays.ids[(layer * data.positions + position) * data.k + rank];
  data.code = (layer, position, rank = 0) =>
    data.arrays.probability[(layer * data.positions + position) * data.k + rank];
  data.entropy = (layer, position) => data.arrays.entropy[layer * data.positions + position] / 100;
  data.best = (position) => data.arrays.best[position];
  data.patchOf = (position) => data.arrays.patch[position];
  data.isPatch = (position) => data.arrays.patch[position] !== NONE;
  data.place = (position) =>
    [0, 1, 2].map((axis) => data.arrays.place[axis * data.positions + position]);
  data.isBlank = (position) =>
    data.isPatch(position) && (data.tokens.flags[data.top(data.best(position), position)] & BLANK) > 0;
  data.positionOfPatch = new Map();
  // Per view, its positions; "row,col" finds one of them.
  data.grids = data.views.map(() => ({ positions: [], at: new Map() }));
  for (let position = 0; position < data.positions; position += 1) {
    if (!data.isPatch(position)) continue;
    data.positionOfPatch.set(data.patchOf(position), position);
    const [view, row, col] = data.place(position);
    if (view === NONE || row === NONE || col === NONE || !data.grids[view]) continue;
    data.grids[view].positions.push(position);
    data.grids[view].at.set(row * 65536 + col, position);
  }
  return data;
}

// What is chosen on the page, and the address that says so: layer, patch, head, view and the rest.

const PAINTS = [
  ["none", "Nothing"], ["probability", "Probability"], ["entropy", "Entropy"],
  ["token", "Chosen token"], ["script", "Script"], ["best", "Best layer"], ["attention", "Attention"],
];

const state = {
  layer: 0, // The slider's.
  selected: -1, // The position chosen by key, click or address.
  hovered: -1, // The position under the pointer.
  locked: false,
  view: 0,
  paint: "probability",
  head: 0,
  step: 0,
  token: "",
  part: false,
  mask: false,
};
let data = null;
let shortcuts = true;

/** Which position is shown. */
const shown = () => (state.locked || state.hovered < 0 ? state.selected : state.hovered);

/** Return whether the patches can be painted so. */
function canPaint(kind) {
  if (kind === "entropy") return data.has_entropy;
  if (kind === "attention") return data.attention !== null;
  return PAINTS.some(([name]) => name === kind);
}

/** Return what the address says, as far as it makes sense; the rest is left out. */
function readHash(hash) {
  const found = {};
  let given;
  try {
    given = new URLSearchParams(hash.replace(/^#/, "").slice(0, 2000));
  } catch {
    return found;
  }
  const whole = (name, below) => {
    const text = given.get(name);
    if (text === null || !/^\d{1,7}$/.test(text) || Number(text) >= below) return null;
    return Number(text);
  };
  const numbers = {
    layer: data.layers,
    view: data.views.length,
    head: data.attention?.heads ?? 0,
    step: data.trajectory.length,
  };
  for (const [name, below] of Object.entries(numbers)) {
    const value = whole(name, below);
    if (value !== null) found[name] = value;
  }
  const patch = data.positionOfPatch.get(whole("patch", Infinity) ?? -1);
  const position = patch ?? whole("pos", data.positions);
  if (position !== null && position !== undefined) {
    found.selected = position;
    found.locked = given.get("lock") !== "0";
  }
  if (canPaint(given.get("paint"))) found.paint = given.get("paint");
  if (given.has("token")) found.token = given.get("token").slice(0, 200);
  for (const name of ["mask", "part"]) if (given.has(name)) found[name] = given.get(name) === "1";
  return found;
}

function writtenHash() {
  const parts = new URLSearchParams({ layer: state.layer });
  if (state.selected >= 0) {
    if (data.isPatch(state.selected)) parts.set("patch", data.patchOf(state.selected));
    else parts.set("pos", state.selected);
    if (!state.locked) parts.set("lock", "0");
  }
  if (data.attention) parts.set("head", state.head);
  if (data.views.length > 1) parts.set("view", state.view);
  if (data.views.length) parts.set("paint", state.paint);
  if (data.trajectory.length > 1) parts.set("step", state.step);
  if (state.token) parts.set("token", state.token);
  if (state.part) parts.set("part", "1");
  if (state.mask) parts.set("mask", "1");
  return `#${parts}`;
}

let pendingHash = 0;

/** Put the choice into the address, a little later and once: browsers limit how often. */
function rememberInAddress() {
  clearTimeout(pendingHash);
  pendingHash = setTimeout(() => history.replaceState(null, "", writtenHash()), 120);
}

// The page of one sample: unpacks its data, binds its parts together, redraws what a choice changes.

/** Say something to those who hear the page. */
function say(text) {
  byId("status").textContent = text;
}

/** Change the choice, and redraw what shows it. */
function choose(changes, speak = true) {
  const before = { ...state };
  Object.assign(state, changes);
  const moved = state.selected !== before.selected;
  // A patch of another view is shown where it lies.
  if (moved && !("view" in changes) && state.selected >= 0 && data.isPatch(state.selected)) {
    const [view] = data.place(state.selected);
    if (view !== NONE && view < data.views.length) state.view = view;
  }
  if (state.token !== before.token || state.part !== before.part) lookUp();
  else if (moved || state.layer !== before.layer) found.at = -1;
  redraw(true);
  if (speak && (moved || state.layer !== before.layer || state.locked !== before.locked)) say(spoken());
  rememberInAddress();
}

/** Draw everything that depends on the choice. */
function redraw(scroll) {
  if (scroll) scrollToCell(Math.max(0, shown()), state.layer);
  syncControls();
  drawPaint();
  drawLegend();
  drawTrajectory();
  drawHits();
  drawTable();
  drawRing();
  drawDetails();
}

/** Take note of the position under the pointer; a locked one stays shown. */
function hover(position, scroll) {
  if (state.hovered === position) return;
  const before = shown();
  state.hovered = position;
  if (shown() === before) return;
  drawRing();
  drawDetails();
  followInTable(scroll);
}

let following = false;
let followScrolls = false;

/** Let the table catch up once the frame that answers the hover is out. */
function followInTable(scroll) {
  followScrolls = scroll;
  if (following) return;
  following = true;
  requestAnimationFrame(() => setTimeout(() => {
    following = false;
    if (followScrolls && shown() >= 0) scrollToCell(shown(), state.layer);
    drawTable();
  }));
}

/** A click locks; on the locked position it unlocks; on another it moves the lock. */
function clickPosition(position) {
  const same = state.locked && state.selected === position;
  choose({ selected: position, locked: !same });
}

function clickCell({ position, layer }) {
  if (position === undefined) choose({ layer });
  else if (layer === undefined || (layer === state.layer && state.locked)) clickPosition(position);
  else choose({ selected: position, layer, locked: true });
}

/** Show what the address says; what it leaves out is as on a page just opened. */
function followAddress(hash) {
  choose({ ...opened, ...readHash(hash) });
}

/** The way back leads to the index as it was filtered. */
function setUpWayBack() {
  const link = document.querySelector("nav a");
  const filters = remembered(INDEX_HASH);
  if (filters) link.href += filters;
}

let opened = {};

function mostEntropy() {
  let most = 1e-9;
  if (!data.has_entropy) return most;
  for (const position of data.positionOfPatch.values()) {
    for (let layer = 0; layer < data.layers; layer += 1) most = Math.max(most, data.entropy(layer, position));
  }
  return most;
}

async function start() {
  const toggleTheme = setUpTheme(colorTable);
  data = await unpack(payload());
  data.trajectory ??= [];
  data.mostEntropy = mostEntropy();
  state.layer = data.trajectory[0]?.convergence ?? data.layers - 1;
  byId("about").replaceChildren(...aboutSample());
  opened = { ...state };
  setUpWayBack();
  lookUp();
  setUpDetails();
  setUpControls();
  setUpTable();
  setUpPrint();
  setUpSearch();
  setUpKeys(toggleTheme);
  redraw(true);
  followAddress(location.hash);
  // The event's own: an address that was about to be written may have taken the new one's place.
  addEventListener("hashchange", (event) => followAddress(new URL(event.newURL).hash));
  performance.mark("ready");
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  byId("details-where").textContent = `This page can't be shown: ${error.message}`;
  throw error;
});

// The keyboard: all that the mouse can do, and a list of it.

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const KEYS = [
  ["← ↑ → ↓", "move the patch in the picture, or the cell in the table"],
  ["Home, End", "first or last patch of the row; first or last layer in the table"],
  ["[ ]  or  Page Up, Page Down", "one layer down or up"],
  ["Enter or Space", "lock the position, or unlock it"],
  ["Esc", "unlock"],
  ["b", "go to the position’s best layer, of those from 1 on"],
  ["/", "find a token; Enter and Shift + Enter step through its hits"],
  ["n, N", "next hit, previous hit"],
  ["p, P", "next or previous paint"],
  ["a", "attention, and back"],
  ["h, H", "next or previous head"],
  ["v", "next view of the picture"],
  ["m", "mask blank patches"],
  ["s, S", "next or previous generated step"],
  ["g", "go to the picture"],
  ["x", "go to the table"],
  ["d", "dark or light"],
  ["?", "this list"],
];

const turned = (value, by, n) => (n ? (value + by + n) % n : value);

function turnPaint(by) {
  const names = PAINTS.map(([name]) => name).filter(canPaint);
  choose({ paint: names[turned(names.indexOf(state.paint), by, names.length)] }, false);
}

function turnHead(by) {
  if (!data.attention) return;
  choose({ head: turned(state.head, by, data.attention.heads) }, false);
  say(`Head ${state.head}`);
}

/** Go to another layer, if there is one. */
function moveLayer(by) {
  choose({ layer: Math.min(data.layers - 1, Math.max(0, state.layer + by)) });
}

function goToBest() {
  if (shown() >= 0) choose({ selected: shown(), layer: data.best(shown()) });
}

function setUpKeys(toggleTheme) {
  const list = byId("key-list");
  for (const [keys, meaning] of KEYS) {
    list.append(element("dt", {}, element("kbd", { textContent: keys })), element("dd", { textContent: meaning }));
  }
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("single").addEventListener("change", () => {
    shortcuts = byId("single").checked;
  });
  const letters = {
    "[": () => moveLayer(-1),
    "]": () => moveLayer(1),
    PageUp: () => moveLayer(-1),
    PageDown: () => moveLayer(1),
    b: goToBest,
    "/": () => byId("token").select(),
    n: () => goToHit(1),
    N: () => goToHit(-1),
    "?": () => byId("keys").showModal(),
    x: () => table.element.focus(),
    d: toggleTheme,
    s: () => choose({ step: turned(state.step, 1, data.trajectory.length) }, false),
    S: () => choose({ step: turned(state.step, -1, data.trajectory.length) }, false),
    Escape: () => choose({ locked: false }),
  };
  const ofPicture = {
    g: () => stage.element.focus(),
    p: () => turnPaint(1),
    P: () => turnPaint(-1),
    a: () => data.attention && choose({ paint: state.paint === "attention" ? "probability" : "attention" }, false),
    h: () => turnHead(1),
    H: () => turnHead(-1),
    v: () => choose({ view: turned(state.view, 1, data.views.length) }, false),
    m: () => choose({ mask: !state.mask }, false),
  };
  if (stage.element) Object.assign(letters, ofPicture);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && ["Home", "End"].includes(event.key) && document.activeElement === table.element) {
      choose({ selected: event.key === "Home" ? 0 : data.positions - 1 });
      event.preventDefault();
    }
    if (event.ctrlKey || event.altKey || event.metaKey || byId("keys").open) return;
    const typing = event.target.matches("input[type=search], select");
    if (typing) return;
    const act = moves(event) ?? letters[event.key];
    if (!act || (!shortcuts && event.key.length === 1 && event.key !== " ")) return;
    act();
    event.preventDefault();
  });
}

/** Return what a key does where the focus is, if it moves or locks something there. */
function moves(event) {
  const onStage = stage.element && document.activeElement === stage.element;
  const onTable = document.activeElement === table.element;
  if (!onStage && !onTable) return undefined;
  const { key } = event;
  if (key === "Enter" || key === " ") return () => state.selected >= 0 && choose({ locked: !state.locked });
  if (onTable) return moveCell(key);
  if (ARROWS[key]) return () => movePatch(...ARROWS[key]);
  if (key === "Home") return () => movePatch(0, -1, true);
  if (key === "End") return () => movePatch(0, 1, true);
  return undefined;
}

function moveCell(key) {
  if (key === "Home") return () => choose({ layer: 0 });
  if (key === "End") return () => choose({ layer: data.layers - 1 });
  if (!ARROWS[key]) return undefined;
  const [down, right] = ARROWS[key];
  if (right) return () => moveLayer(right);
  return () => choose({ selected: Math.min(data.positions - 1, Math.max(0, Math.max(state.selected, 0) + (state.selected < 0 ? 0 : down))) });
}

/** Choose the neighbour of the chosen patch; with `far` the last one that way. */
function movePatch(down, right, far = false) {
  const grid = data.grids[state.view];
  const from = state.selected;
  if (from < 0 || !data.isPatch(from) || data.place(from)[0] !== state.view) {
    if (grid.positions.length) choose({ selected: grid.positions[0] });
    return;
  }
  const { rows, cols } = data.views[state.view];
  let [, row, col] = data.place(from);
  let to = from;
  // A grid may have holes: on over them.
  for (;;) {
    row += down;
    col += right;
    if (row < 0 || col < 0 || row >= rows || col >= cols) break;
    const there = grid.at.get(row * 65536 + col);
    if (there === undefined) continue;
    to = there;
    if (!far) break;
  }
  choose({ selected: to });
}

// The layer × position table: a row a position, a column a layer, and only what is in sight exists.

const ROW = 28;
const table = { element: null, rows: [], heads: null, space: null, columns: [], left: 128, width: 96, scroll: { top: 0, left: 0 } };

function setUpTable() {
  table.element = byId("table");
  table.space = element("div", { className: "space", role: "rowgroup" });
  table.element.append(table.space);
  table.element.setAttribute("aria-rowcount", data.positions + 1);
  table.element.setAttribute("aria-colcount", data.layers + 1);
  table.heads = element("div", { className: "heads", role: "row" });
  table.heads.setAttribute("aria-rowindex", 1);
  table.heads.append(headCell());
  table.space.append(table.heads);
  table.element.addEventListener("scroll", () => {
    const { scrollTop: top, scrollLeft: left } = table.element;
    if (top === table.scroll.top && left === table.scroll.left) return; // Drawn already.
    table.scroll = { top, left };
    drawTable();
  }, { passive: true });
  table.element.addEventListener("click", (event) => {
    const cell = event.target.closest("[role]");
    if (cell?.at) clickCell(cell.at);
  });
  table.element.addEventListener("pointermove", (event) => {
    const cell = event.target.closest("[role]");
    if (cell?.at?.position !== undefined) hover(cell.at.position, false);
  });
  table.element.addEventListener("pointerleave", () => hover(-1, false));
  measureTable();
  new ResizeObserver(() => {
    measureTable();
    drawTable();
  }).observe(table.element);
}

/** Ground of the cells, which goes with the theme. */
function colorTable() {
  table.color = document.documentElement.dataset.theme === "dark" ? "96 165 250" : "10 88 168";
  if (table.element) drawTable();
}

function headCell() {
  const corner = element("span", { className: "corner", role: "columnheader", textContent: "Position" });
  corner.setAttribute("aria-colindex", 1);
  return corner;
}

function measureTable() {
  const narrow = window.innerWidth < 520;
  table.left = narrow ? 96 : 128;
  table.width = narrow ? 84 : 96;
  table.sight = { width: table.element.clientWidth, height: table.element.clientHeight };
  const whole = (table.whole = table.left + data.layers * table.width);
  table.space.style.width = `${whole}px`;
  table.element.style.maxHeight = `${(data.positions + 1) * ROW + 18}px`; // With room for a bar.
  table.space.style.height = `${(data.positions + 1) * ROW}px`;
  table.heads.style.width = `${whole}px`;
  table.heads.style.height = `${ROW}px`;
  table.heads.firstChild.style.width = `${table.left}px`;
}

const PRINTED = { width: 660, height: 452 }; // Pixels that fit a sheet between its margins.

/** On paper nothing scrolls: the part around the choice is printed, and a line says which it is. */
function setUpPrint() {
  const style = table.element.style;
  addEventListener("beforeprint", () => {
    style.width = `${PRINTED.width}px`;
    style.height = `${PRINTED.height}px`;
    measureTable();
    scrollToCell(Math.max(0, shown()), state.layer);
    drawTable();
    const { scroll, sight } = table;
    const row = Math.ceil(scroll.top / ROW);
    const lastRow = Math.min(data.positions, row + Math.floor((sight.height - ROW) / ROW)) - 1;
    const layer = Math.ceil(scroll.left / table.width);
    const layers = Math.floor((sight.width - table.left) / table.width);
    const lastLayer = Math.min(data.layers, layer + layers) - 1;
    byId("printed").textContent =
      `Printed: positions ${row} to ${lastRow} of 0 to ${data.positions - 1}, ` +
      `layers ${layer} to ${lastLayer} of 0 to ${data.layers - 1}.`;
  });
  addEventListener("afterprint", () => {
    style.width = style.height = "";
    measureTable();
    drawTable();
  });
}

/** Bring a row and column into sight. Called while layout is clean, where it costs nothing. */
function scrollToCell(position, layer) {
  const { element: box, sight, scroll } = table;
  const top = position * ROW;
  // The heads cover the first row and column.
  if (top < scroll.top || top + 2 * ROW > scroll.top + sight.height) {
    box.scrollTop = Math.max(0, top - (sight.height - ROW) / 2 + ROW / 2);
    scroll.top = box.scrollTop;
  }
  const left = layer * table.width;
  const room = sight.width - table.left;
  if (left < scroll.left || left + table.width > scroll.left + room) {
    box.scrollLeft = Math.max(0, left - room / 2 + table.width / 2);
    scroll.left = box.scrollLeft;
  }
}

/** Draw the rows and columns in sight, by giving the elements there are new contents. */
function drawTable() {
  const { sight, scroll } = table;
  const firstRow = Math.max(0, Math.floor(scroll.top / ROW) - 1);
  const lastRow = Math.min(data.positions - 1, firstRow + Math.ceil(sight.height / ROW) + 1);
  const across = Math.min(data.layers, Math.ceil((sight.width - table.left) / table.width) + 1);
  const firstCol = Math.max(0, Math.min(data.layers - across, Math.floor(scroll.left / table.width)));
  const lastCol = firstCol + across - 1;
  drawHeads(firstCol, lastCol);
  const wanted = lastRow - firstRow + 1;
  while (table.rows.length < wanted) table.rows.push(newRow());
  const chosen = shown();
  // Wherever it now is, even on a row that is put away.
  table.active?.removeAttribute("id");
  table.active = null;
  // A row, and in it a column, keeps its element while it stays in sight.
  const n = table.rows.length;
  const used = new Set();
  for (let position = firstRow; position <= lastRow; position += 1) {
    const row = table.rows[position % n];
    used.add(row);
    drawRow(row, position, firstCol, lastCol, chosen);
  }
  for (const row of table.rows) if (row.element.hidden === used.has(row)) row.element.hidden = !used.has(row);
  if (table.active) table.element.setAttribute("aria-activedescendant", "cell-now");
  else table.element.removeAttribute("aria-activedescendant");
}

function drawHeads(first, last) {
  const needed = last - first + 1;
  while (table.columns.length < needed) {
    const cell = element("span", { role: "columnheader" });
    table.columns.push(cell);
    table.heads.append(cell);
  }
  for (let slot = 0; slot < table.columns.length; slot += 1) {
    const cell = table.columns[slot];
    cell.hidden = slot >= needed;
  }
  for (let layer = first; layer <= last; layer += 1) {
    const cell = table.columns[layer % needed];
    cell.at = { layer };
    setText(cell, String(layer));
    cell.style.left = `${table.left + layer * table.width}px`;
    cell.style.width = `${table.width}px`;
    cell.setAttribute("aria-colindex", layer + 2);
    cell.classList.toggle("column-now", layer === state.layer);
  }
}

function newRow() {
  const made = element("div", { role: "row" });
  const head = element("span", { role: "rowheader" });
  head.setAttribute("aria-colindex", 1);
  made.append(head);
  table.space.append(made);
  return { element: made, head, cells: [], position: -1 };
}

function drawRow(row, position, first, last, chosen) {
  if (row.position !== position) {
    row.position = position;
    row.element.style.transform = `translateY(${(position + 1) * ROW}px)`;
    row.element.setAttribute("aria-rowindex", position + 2);
    row.head.replaceChildren(...rowName(position));
    row.head.at = { position };
  }
  if (row.whole !== table.whole) {
    row.whole = table.whole;
    row.element.style.width = `${table.whole}px`;
    row.head.style.width = `${table.left}px`;
  }
  const needed = last - first + 1;
  while (row.cells.length < needed) {
    const cell = element("span", { role: "gridcell" });
    row.cells.push(cell);
    row.element.append(cell);
  }
  if (row.isChosen !== (position === chosen)) {
    row.isChosen = position === chosen;
    row.element.classList.toggle("chosen", row.isChosen);
  }
  const best = data.best(position);
  for (let slot = 0; slot < row.cells.length; slot += 1) {
    const cell = row.cells[slot];
    if (cell.hidden !== slot >= needed) cell.hidden = slot >= needed;
  }
  for (let layer = first; layer <= last; layer += 1) {
    drawCell(row.cells[layer % needed], position, layer, best, chosen);
  }
}

// Every change costs style and layout, so that each is made only where something differs. A cell is
// a block of its own: no text can turn its neighbours around.
function drawCell(cell, position, layer, best, chosen) {
  const index = data.top(layer, position);
  if (cell.index !== index) {
    cell.textContent = tokenText(index);
    cell.index = index;
  }
  cell.at = { position, layer };
  if (cell.layer !== layer || cell.whole !== table.whole) {
    cell.layer = layer;
    cell.whole = table.whole;
    cell.style.left = `${table.left + layer * table.width}px`;
    cell.style.width = `${table.width}px`;
    cell.setAttribute("aria-colindex", layer + 2);
  }
  const ground = `rgb(${table.color} / ${Math.round(42 * amount(probabilityOf(data.code(layer, position))))}%)`;
  if (cell.ground !== ground) {
    cell.ground = ground;
    cell.style.backgroundColor = ground;
  }
  const active = position === chosen && layer === state.layer;
  let classes = isOdd(index) ? "odd" : "";
  if (layer === best) classes += " best";
  if (found.cells[layer * data.positions + position]) classes += " hit";
  if (active) classes += " active";
  if (cell.classes !== classes) cell.className = cell.classes = classes;
  if (active) {
    cell.id = "cell-now";
    table.active = cell;
  }
}

/** Return what stands at the head of a position's row. */
function rowName(position) {
  const step = data.arrays.step[position];
  if (data.isPatch(position)) {
    const [, row, col] = data.place(position);
    const where = row === NONE || col === NONE ? " outside" : ` ${row}, ${col}`;
    return [element("b", { textContent: `#${data.patchOf(position)}` }), where];
  }
  const token = data.arrays.token[position];
  const label = step === NONE ? `${position} ` : `+${step} `;
  return [label, element("b", {}, isolated(tokenText(token)))];
}

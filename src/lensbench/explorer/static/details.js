// What the shown position says: its place, its top tokens at its best layer and at the slider's.

const SVG = "http://www.w3.org/2000/svg";

function drawn(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

/** Return what a token is shown as. */
function tokenText(index) {
  const text = data.tokens.text[index];
  if (text === undefined) return "?";
  if (data.tokens.flags[index] & FRAGMENT) return `⟨fragment⟩ ${visible(text)}`.trim();
  return text === "" ? "∅" : visible(text);
}

/** Return whether a token has no text of its own to show. */
const isOdd = (index) => data.tokens.text[index] === "" || (data.tokens.flags[index] & FRAGMENT) > 0;

/** Return in a few words which position it is. */
function nameOf(position) {
  const step = data.arrays.step[position];
  if (step !== NONE) return `Step ${step}`;
  if (!data.isPatch(position)) return `Position ${position}`;
  return `Patch ${data.patchOf(position)}`;
}

/** Return where a position lies, as text. */
function placeOf(position) {
  if (!data.isPatch(position)) return `the token ${tokenText(data.arrays.token[position])}`;
  const [view, row, col] = data.place(position);
  if (view === NONE || row === NONE || col === NONE) return "outside the grid";
  const name = data.views.length > 1 ? `${visible(data.views[view].name, false)}, ` : "";
  return `${name}row ${row}, column ${col}`;
}

const panel = { lists: [], spark: null };

function setUpDetails() {
  const place = byId("details");
  for (const name of ["best", "now"]) {
    const title = element("h3", { id: `${name}-title` });
    const list = element("ol", {});
    list.setAttribute("aria-labelledby", title.id);
    const rows = Array.from({ length: data.k }, () => {
      const token = element("button", { type: "button", title: "Find this token" });
      const bar = element("i");
      const number = element("span", { className: "number" });
      list.append(element("li", {}, token, element("span", { className: "bar" }, bar), number));
      const row = { token, bar, number, index: -1 };
      token.addEventListener("click", () => searchFor(row.index));
      return row;
    });
    place.append(element("div", {}, title, list));
    panel.lists.push({ title, rows });
  }
  panel.spark = drawn("svg", { class: "spark", preserveAspectRatio: "none", role: "img" });
  panel.spark.setAttribute("viewBox", `0 -0.04 ${Math.max(1, data.layers - 1)} 1.08`);
  panel.path = panel.spark.appendChild(drawn("path"));
  panel.now = panel.spark.appendChild(drawn("line", { y1: 0, y2: 1 }));
  panel.best = panel.spark.appendChild(drawn("line", { y1: 0, y2: 1, class: "best" }));
  panel.note = element("p", { className: "note spark-note" });
  place.append(panel.spark, panel.note);
}

/** Give an element another text, if it is another: the same one would cost layout too. */
function setText(place, text) {
  if (place.shownText === text) return;
  place.shownText = text;
  place.textContent = text;
}

function fillList(list, title, layer, position) {
  setText(list.title, title);
  list.rows.forEach((row, rank) => {
    const code = data.code(layer, position, rank);
    const index = data.top(layer, position, rank);
    if (row.index !== index) {
      row.token.replaceChildren(isolated(tokenText(index)));
      row.token.classList.toggle("odd", isOdd(index));
      row.index = index;
    }
    row.bar.style.transform = `scaleX(${probabilityOf(code)})`;
    setText(row.number, shownProbability(code));
  });
}

/** Show the position; a dash where none is chosen. */
function drawDetails() {
  const position = shown();
  const place = byId("details");
  byId("locked").hidden = !state.locked;
  byId("to-best").disabled = position < 0;
  // Its room stays, so that nothing moves away under the pointer.
  place.classList.toggle("empty", position < 0);
  if (position < 0) {
    setText(byId("details-title"), "Position");
    byId("details-where").textContent = stage.element ? "Hover or choose a patch." : "Choose a position in the table.";
    return;
  }
  const best = data.best(position);
  const { layer } = state;
  setText(byId("details-title"), nameOf(position));
  byId("details-where").replaceChildren(
    isolated(placeOf(position)),
    ` · position ${position} of ${data.positions - 1} · best layer ${best}`,
    data.isBlank(position) ? " · blank" : "",
  );
  fillList(panel.lists[0], `Best layer, ${best}`, best, position);
  fillList(panel.lists[1], `Layer ${layer}${entropyNote(layer, position)}`, layer, position);
  let path = "";
  for (let l = 0; l < data.layers; l += 1) {
    path += `${l ? "L" : "M"}${l} ${(1 - probabilityOf(data.code(l, position))).toFixed(3)}`;
  }
  panel.path.setAttribute("d", path);
  for (const [line, at] of [[panel.now, layer], [panel.best, best]]) {
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
  }
  const most = shownProbability(data.code(best, position));
  panel.spark.setAttribute("aria-label", `Probability of the likeliest token by layer; from layer 1 on at most ${most}, at layer ${best}`);
  setText(panel.note, `Probability (0 to 1) of the likeliest token, layer 0 to ${data.layers - 1}; lines at the best layer (the likeliest from layer 1 on) and at layer ${layer}.`);
}

function entropyNote(layer, position) {
  return data.has_entropy ? ` · entropy ${shownNats(data.entropy(layer, position))}` : "";
}

/** Return the shown position in a sentence, for those who hear the page. */
function spoken() {
  const position = state.selected;
  const { layer } = state;
  if (position < 0) return `Layer ${layer}`;
  const best = data.best(position);
  const top = (l) => `${tokenText(data.top(l, position))} ${shownProbability(data.code(l, position))}`;
  return (
    `${nameOf(position)}, ${placeOf(position)}; layer ${layer}: ${top(layer)}; ` +
    `best layer ${best}: ${top(best)}${state.locked ? "; locked" : ""}`
  );
}

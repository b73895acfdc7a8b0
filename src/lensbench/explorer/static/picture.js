// The picture with its patches: paint, the ring around the chosen patch, legend, and the pointer.

const stage = { element: null, canvas: null, ring: null };

/** Return left, top, width and height of a patch, in fractions of the picture. */
function boxOf(position) {
  const [view, row, col] = data.place(position);
  const { rows, cols, box } = data.views[view];
  const width = (box[2] - box[0]) / cols;
  const height = (box[3] - box[1]) / rows;
  return [box[0] + col * width, box[1] + row * height, width, height];
}

/** Return the position under a point of the page, or -1. */
function positionAt(x, y) {
  const around = stage.element.getBoundingClientRect();
  const view = data.views[state.view];
  const [left, top, right, bottom] = view.box;
  const col = Math.floor((((x - around.left) / around.width - left) / (right - left)) * view.cols);
  const row = Math.floor((((y - around.top) / around.height - top) / (bottom - top)) * view.rows);
  if (row < 0 || col < 0 || row >= view.rows || col >= view.cols) return -1;
  return data.grids[state.view].at.get(row * 65536 + col) ?? -1;
}

// How likely is shown by its square root, which keeps small probabilities apart.
const amount = (probability) => Math.sqrt(probability);

/** Return the colour of each patch of the view (null: none). */
function painter() {
  const { layer, paint } = state;
  if (paint === "probability") return (p) => ramp(amount(probabilityOf(data.code(layer, p))));
  if (paint === "entropy") return (p) => ramp(data.entropy(layer, p) / data.mostEntropy);
  if (paint === "best") return (p) => ramp(data.best(p) / Math.max(1, data.layers - 1));
  if (paint === "script") {
    const colors = scriptColors();
    return (p) => colors[data.tokens.script[data.top(layer, p)]];
  }
  if (paint === "token") {
    return (p) => {
      const code = foundCode(layer, p);
      return code === null ? null : ramp(amount(probabilityOf(code)));
    };
  }
  if (paint === "attention") {
    const row = headRow();
    return row === null ? () => null : (p) => ramp(data.arrays.attention[row + data.patchOf(p)] / 255);
  }
  return () => null;
}

/** Return where the weights of the chosen layer and head begin, or null where there are none. */
function headRow() {
  const block = data.attention.layers.indexOf(state.layer);
  if (block < 0) return null;
  return (block * data.attention.heads + state.head) * data.positionOfPatch.size;
}

/** Return a colour for each script: its own for those that most patches are in, over all layers. */
function scriptColors() {
  if (data.scriptColors) return data.scriptColors;
  const counts = data.scripts.map(() => 0);
  for (const position of data.positionOfPatch.values()) {
    for (let layer = 0; layer < data.layers; layer += 1) {
      counts[data.tokens.script[data.top(layer, position)]] += 1;
    }
  }
  const order = counts.map((_, i) => i).sort((a, b) => counts[b] - counts[a]);
  data.scriptColors = data.scripts.map(() => OTHER);
  order.slice(0, KINDS.length).forEach((script, place) => {
    data.scriptColors[script] = KINDS[place];
  });
  return data.scriptColors;
}

/** Paint the patches of the view anew. */
function drawPaint() {
  if (!stage.element) return;
  const { canvas } = stage;
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(stage.element.clientWidth * scale));
  const height = Math.max(1, Math.round(stage.element.clientHeight * scale));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const color = painter();
  const strength = Number(byId("opacity").value) / 100;
  for (const position of data.grids[state.view].positions) {
    const [x, y, w, h] = boxOf(position);
    const [left, top] = [Math.round(x * width), Math.round(y * height)];
    const [right, bottom] = [Math.round((x + w) * width), Math.round((y + h) * height)];
    const masked = state.mask && data.isBlank(position);
    const fill = masked ? null : color(position);
    if (fill !== null) {
      pen.globalAlpha = strength;
      pen.fillStyle = fill;
      pen.fillRect(left, top, right - left, bottom - top);
    }
    pen.globalAlpha = 1;
    if (masked) drawMask(pen, left, top, right - left, bottom - top);
    if (found.positions.has(position)) {
      const here = found.cells[state.layer * data.positions + position] > 0;
      drawHit(pen, left, top, right - left, bottom - top, here, scale);
    }
  }
}

function drawMask(pen, left, top, width, height) {
  pen.fillStyle = "rgb(128 128 128 / 88%)";
  pen.fillRect(left, top, width, height);
  pen.strokeStyle = "rgb(255 255 255 / 55%)";
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(left, top + height);
  pen.lineTo(left + width, top);
  pen.stroke();
}

/** A frame where the token is at this layer, a corner where it is at another. */
function drawHit(pen, left, top, width, height, here, scale) {
  if (here) {
    pen.lineWidth = 3 * scale;
    pen.strokeStyle = "#000";
    pen.strokeRect(left + 2 * scale, top + 2 * scale, width - 4 * scale, height - 4 * scale);
    pen.lineWidth = 1.5 * scale;
    pen.strokeStyle = "#fff";
    pen.strokeRect(left + 2 * scale, top + 2 * scale, width - 4 * scale, height - 4 * scale);
    return;
  }
  const side = Math.max(4 * scale, Math.min(width, height) / 3);
  pen.beginPath();
  pen.moveTo(left + width, top);
  pen.lineTo(left + width - side, top);
  pen.lineTo(left + width, top + side);
  pen.closePath();
  pen.fillStyle = "#fff";
  pen.fill();
  pen.strokeStyle = "#000";
  pen.lineWidth = scale;
  pen.stroke();
}

/** Put the ring around the shown patch, if it lies in the view. */
function drawRing() {
  if (!stage.element) return;
  const position = shown();
  const inView = position >= 0 && data.isPatch(position) && data.place(position)[0] === state.view;
  stage.ring.hidden = !inView || data.place(position)[1] === NONE;
  stage.ring.classList.toggle("locked", state.locked);
  if (stage.ring.hidden) return;
  const [x, y, w, h] = boxOf(position);
  const { width, height } = stage.size;
  stage.ring.style.transform = `translate(${x * width - 1}px, ${y * height - 1}px)`;
  stage.ring.style.width = `${w * width + 2}px`;
  stage.ring.style.height = `${h * height + 2}px`;
}

function scaleLegend(name, ticks, share = (value) => value) {
  const band = element("canvas", { width: 256, height: 1, role: "img" });
  band.setAttribute("aria-label", `${name}: from ${ticks[0][1]} to ${ticks.at(-1)[1]}`);
  const pen = band.getContext("2d");
  for (let i = 0; i < 256; i += 1) {
    pen.fillStyle = RAMP[i];
    pen.fillRect(i, 0, 1, 1);
  }
  const marks = element("div", { className: "ticks" });
  for (const [value, text] of ticks) {
    const mark = element("span", { textContent: text });
    mark.style.left = `${100 * share(value)}%`;
    marks.append(mark);
  }
  return [
    element("span", { className: "name", textContent: name }),
    element("div", { className: "scale" }, band, marks),
  ];
}

const PROBABILITY_TICKS = [[0, "0"], [0.01, "1 %"], [0.1, "10 %"], [0.25, "25 %"], [0.5, "50 %"], [1, "100 %"]];

/** Say what the colours mean, with numbers. */
function drawLegend() {
  if (!stage.element) return;
  const { layer, paint } = state;
  const place = byId("legend");
  const note = (text) => element("span", { className: "note", textContent: text });
  if (paint === "probability") {
    place.replaceChildren(...scaleLegend(`Likeliest token, layer ${layer}`, PROBABILITY_TICKS, amount));
  } else if (paint === "entropy") {
    const most = data.mostEntropy;
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) => [at, shownNats(at * most).replace(" nats", "")]);
    place.replaceChildren(...scaleLegend(`Entropy in nats, layer ${layer}`, ticks));
  } else if (paint === "best") {
    const last = data.layers - 1;
    const ticks = [...new Set([0, Math.round(last / 3), Math.round((2 * last) / 3), last])];
    place.replaceChildren(...scaleLegend("Best layer, from 1 on", ticks.map((l) => [l / Math.max(1, last), String(l)])));
  } else if (paint === "token") {
    place.replaceChildren(
      ...(found.indices.size
        ? scaleLegend(`The token searched for, layer ${layer}`, PROBABILITY_TICKS, amount)
        : [note("Find a token to paint where it is among the top tokens.")]),
    );
  } else if (paint === "script") {
    place.replaceChildren(...scriptLegend());
  } else if (paint === "attention") {
    place.replaceChildren(...attentionLegend(note));
  } else {
    place.replaceChildren(note("No paint."));
  }
  byId("head-row").hidden = paint !== "attention";
}

function scriptLegend() {
  const counts = data.scripts.map(() => 0);
  for (const position of data.grids[state.view].positions) {
    counts[data.tokens.script[data.top(state.layer, position)]] += 1;
  }
  const order = counts.map((_, i) => i).filter((i) => counts[i]);
  return order.sort((a, b) => counts[b] - counts[a]).map((script) => {
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = scriptColors()[script];
    return element("span", {}, swatch, isolated(`${visible(data.scripts[script], false)} ${counts[script]}`));
  });
}

function attentionLegend(note) {
  const block = data.attention.layers.indexOf(state.layer);
  if (block < 0) return [note(`No attention was kept at layer ${state.layer}: move the layer.`)];
  const at = block * data.attention.heads + state.head;
  const most = data.attention.most[at];
  const ticks = [0, 0.01, 0.1, 0.25, 0.5, 1].map((share) => [share, share ? `${(100 * most * share).toPrecision(2)} %` : "0"]);
  const mass = (100 * data.attention.mass[at]).toPrecision(3);
  return [
    ...scaleLegend(`Attention of head ${state.head} in layer ${state.layer}`, ticks.filter((_, i) => i !== 1), amount),
    note(`${mass} % of this head’s attention is on the picture.`),
  ];
}

// The answer's way through the layers: its probability and the gold token's, and who leads where.

const chart = { width: 0, step: -1, scale: "probability" };
const PLOT = { left: 46, right: 26, top: 22, height: 170 };

/** Draw the chosen step's chart; without arguments only where something has changed. */
function drawTrajectory() {
  const place = byId("trajectory");
  if (!place || !data.trajectory.length) return;
  const width = Math.max(260, place.clientWidth || 600);
  const key = [width, state.step, byId("scale").value].join();
  if (chart.key !== key) {
    chart.key = key;
    buildChart(place, width, data.trajectory[state.step], byId("scale").value);
  }
  const x = chart.x(state.layer);
  chart.at.setAttribute("x1", x);
  chart.at.setAttribute("x2", x);
  byId("trajectory-note").replaceChildren(...layerNote(data.trajectory[state.step]));
}

function buildChart(place, width, step, scale) {
  const last = Math.max(1, data.layers - 1);
  const inner = width - PLOT.left - PLOT.right;
  const slot = inner / last;
  // Few layers leave room for the tokens to lie; many make them stand.
  const wide = slot >= 44;
  const height = PLOT.top + PLOT.height + (wide ? 48 : 118);
  const bottom = PLOT.top + PLOT.height;
  chart.x = (layer) => PLOT.left + layer * slot;
  const values = [...step.final_logprob, ...(step.gold_logprob ?? [])];
  const least = Math.min(-1, Math.floor(Math.min(...values)));
  const share = (logprob) => (scale === "probability" ? Math.exp(logprob) : 1 - logprob / least);
  const y = (logprob) => PLOT.top + (1 - Math.max(0, share(logprob))) * PLOT.height;
  const svg = drawn("svg", { role: "img", height, viewBox: `0 0 ${width} ${height}` });
  svg.setAttribute("aria-label", chartLabel(step));
  for (const at of [0, 0.25, 0.5, 0.75, 1]) {
    const level = PLOT.top + (1 - at) * PLOT.height;
    const text = scale === "probability" ? `${100 * at} %` : (least * (1 - at)).toFixed(1);
    svg.append(
      drawn("line", { class: "grid", x1: PLOT.left, x2: width - PLOT.right, y1: level, y2: level }),
      drawn("text", { x: PLOT.left - 6, y: level + 4, "text-anchor": "end" }, text),
    );
  }
  if (step.convergence !== null) {
    const x = chart.x(step.convergence);
    const anchor = x > width * 0.6 ? "end" : "start";
    svg.append(
      drawn("line", { class: "converged", x1: x, x2: x, y1: PLOT.top - 8, y2: bottom }),
      drawn("text", { class: "converged-label", x: x + (anchor === "end" ? -4 : 4), y: PLOT.top - 8, "text-anchor": anchor }, `converges at ${step.convergence}`),
    );
  }
  for (const [name, series] of [["gold", step.gold_logprob], ["final", step.final_logprob]]) {
    if (!series) continue;
    const path = series.map((value, l) => `${l ? "L" : "M"}${chart.x(l).toFixed(1)} ${y(value).toFixed(1)}`);
    svg.append(drawn("path", { class: name, d: path.join("") }));
  }
  chart.at = drawn("line", { class: "at", y1: PLOT.top - 4, y2: bottom + 4 });
  svg.append(chart.at);
  drawLayers(svg, step, slot, bottom, wide);
  svg.addEventListener("click", (event) => {
    const around = svg.getBoundingClientRect();
    const at = ((event.clientX - around.left) / around.width) * width;
    choose({ layer: Math.min(last, Math.max(0, Math.round((at - PLOT.left) / slot))) });
  });
  place.replaceChildren(svg);
}

/** Number the layers and write below each which token leads there. */
function drawLayers(svg, step, slot, bottom, wide) {
  const every = Math.ceil(22 / slot);
  for (let layer = 0; layer < data.layers; layer += 1) {
    const x = chart.x(layer);
    if (layer % every === 0) {
      svg.append(drawn("text", { x, y: bottom + 16, "text-anchor": "middle" }, String(layer)));
    }
    if (slot < 11 && layer % 2) continue;
    const index = step.top[layer];
    const same = index === step.final ? " same" : "";
    const room = wide ? Math.floor(slot / 8.5) : 12;
    const whole = [...tokenText(index)];
    const text = whole.length > room ? `${whole.slice(0, room - 1).join("")}…` : whole.join("");
    const at = wide
      ? { x, y: bottom + 38, "text-anchor": "middle" }
      : { x: 0, y: 0, "text-anchor": "end", transform: `translate(${x + 4} ${bottom + 26}) rotate(-90)` };
    const mark = drawn("text", { class: `token${same}`, ...at }, text);
    mark.append(drawn("title", {}, `layer ${layer}: ${tokenText(index)} ${shownProbability(step.top_probability[layer])}`));
    svg.append(mark);
  }
}

function chartLabel(step) {
  const gold = step.gold_logprob ? " and of the gold token" : "";
  const from = step.convergence === null ? "" : `; it stays the likeliest from layer ${step.convergence} on`;
  return `Probability of the token ${tokenText(step.final)}${gold} by layer, step ${step.step}${from}`;
}

function layerNote(step) {
  const { layer } = state;
  const key = (name, text) => {
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = `var(--${name})`;
    return element("span", {}, swatch, text);
  };
  const parts = [key("accent", "final token "), isolated(tokenText(step.final))];
  parts.push(` at layer ${layer}: ${shownProbability(step.final_probability[layer])}, rank ${step.final_rank[layer]}`);
  if (step.gold_logprob) {
    parts.push(" · ", key("gold", "gold token: "), `${shownProbability(step.gold_probability[layer])}, rank ${step.gold_rank[layer]}`);
  }
  parts.push(` · likeliest at layer ${layer}: `, isolated(tokenText(step.top[layer])), ` ${shownProbability(step.top_probability[layer])}`);
  return parts;
}

// The controls around picture and chart, each bound to one part of the state.

function fillSelect(id, texts) {
  const select = byId(id);
  select.replaceChildren(...texts.map((text, value) => element("option", { value, textContent: text })));
  return select;
}

function setUpControls() {
  const slider = byId("layer");
  slider.max = data.layers - 1;
  slider.addEventListener("input", () => choose({ layer: Number(slider.value) }));
  byId("to-best").addEventListener("click", goToBest);
  if (byId("step")) {
    const steps = data.trajectory.map((step) => `${step.step}: ${tokenText(step.final)}`);
    fillSelect("step", steps).addEventListener("change", (event) => choose({ step: Number(event.target.value) }, false));
    byId("scale").addEventListener("change", drawTrajectory);
    new ResizeObserver(drawTrajectory).observe(byId("trajectory"));
  }
  if (byId("stage") && data.grids.length) setUpStage();
}

function setUpStage() {
  Object.assign(stage, { element: byId("stage"), canvas: byId("paint-layer"), ring: byId("ring") });
  setUpPaints();
  const names = data.views.map((view) => `${visible(view.name, false)} (${view.rows} × ${view.cols})`);
  fillSelect("view", names).addEventListener("change", (event) => choose({ view: Number(event.target.value) }, false));
  byId("view-label").hidden = data.views.length < 2;
  if (data.attention) {
    const heads = Array.from({ length: data.attention.heads }, (_, head) => String(head));
    fillSelect("head", heads).addEventListener("change", (event) => choose({ head: Number(event.target.value) }, false));
  }
  byId("opacity").addEventListener("input", drawPaint);
  byId("mask").addEventListener("change", () => choose({ mask: byId("mask").checked }, false));
  const blank = [...data.positionOfPatch.values()].filter((position) => data.isBlank(position)).length;
  byId("blank-count").textContent = `(${blank} of ${data.positionOfPatch.size})`;
  byId("picture").classList.toggle("small", byId("picture").width < 200);
  stage.element.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") hover(positionAt(event.clientX, event.clientY), true);
  });
  stage.element.addEventListener("pointerleave", () => hover(-1, true));
  stage.element.addEventListener("click", (event) => {
    const position = positionAt(event.clientX, event.clientY);
    if (position >= 0) clickPosition(position);
  });
  const measure = () => {
    stage.size = { width: stage.element.clientWidth, height: stage.element.clientHeight };
    drawPaint();
    drawRing();
  };
  stage.size = { width: stage.element.clientWidth, height: stage.element.clientHeight };
  new ResizeObserver(measure).observe(stage.element);
}

function setUpPaints() {
  for (const [name, label] of PAINTS) {
    const input = element("input", { type: "radio", name: "paint", value: name, disabled: !canPaint(name) });
    input.addEventListener("change", () => choose({ paint: name }, false));
    byId("paint").append(element("label", {}, input, label));
  }
}

/** Make the controls say what the state says. */
function syncControls() {
  byId("layer").value = state.layer;
  byId("layer-now").textContent = `${state.layer} of ${data.layers - 1}`;
  byId("layer").setAttribute("aria-valuetext", `layer ${state.layer}`);
  if (byId("token").value !== state.token) byId("token").value = state.token;
  byId("part").checked = state.part;
  if (byId("step")) byId("step").value = state.step;
  if (!stage.element) return;
  byId("view").value = state.view;
  byId("mask").checked = state.mask;
  if (data.attention) byId("head").value = state.head;
  for (const input of document.getElementsByName("paint")) input.checked = input.value === state.paint;
  const { name, rows, cols } = data.views[state.view];
  stage.element.setAttribute("aria-label", `Patches of the picture, ${visible(name, false)}: ${rows} rows by ${cols} columns`);
}

/** Return what the head of the page says of the sample. */
function aboutSample() {
  const { asked, generated, gold, correct, prompt, lens } = data.about;
  const item = (name, text, ...more) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", {}, isolated(visible(text, false)), ...more));
  const parts = [item("Question", asked || prompt)];
  if (data.trajectory.length) {
    const verdict = correct === null ? "unknown" : correct ? "right" : "wrong";
    parts.push(item("Answer", generated, " ", element("span", { className: `badge ${verdict}`, textContent: verdict })));
  }
  if (gold) parts.push(item("Gold", gold));
  parts.push(item("Lens", lens), item("Layers", `0 to ${data.layers - 1}`));
  return parts;
}

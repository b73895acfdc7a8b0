// The index: cards from the payload, filters and search, and the address that remembers them.

const FIELDS = ["q", "model", "dataset", "answer", "from", "to"];
const { cards } = payload();

const verdictOf = (card) => (card.right === null ? "unknown" : card.right ? "right" : "wrong");

function cardElement(card) {
  const picture = card.thumbnail
    ? element("img", { className: "thumb", src: card.thumbnail, alt: "", loading: "lazy" })
    : element("span", { className: "thumb", textContent: "text only" });
  const layer =
    card.convergence_layer === null
      ? `layers 0 to ${card.n_layers}`
      : `converges at layer ${card.convergence_layer} of ${card.n_layers}`;
  const text = [
    element("span", { className: "title" }, isolated(visible(card.title, false))),
    element("span", { className: "from" }, isolated(visible(card.model, false)), " · ", isolated(visible(card.dataset, false))),
    element("span", { className: "question" }, isolated(visible(card.question, false))),
  ];
  if (card.answer || card.right !== null) {
    const verdict = verdictOf(card);
    const badge = element("span", { className: `badge ${verdict}`, textContent: verdict });
    text.push(element("span", { className: "answer" }, isolated(visible(card.answer.trim(), false)), badge));
  }
  text.push(element("span", { className: "layer", textContent: layer }));
  const link = element("a", { href: card.href }, picture, element("span", { className: "text" }, ...text));
  return element("li", {}, link);
}

/** Return whether a card passes the filters. */
function passes(card, wanted) {
  if (wanted.model && card.model !== wanted.model) return false;
  if (wanted.dataset && card.dataset !== wanted.dataset) return false;
  if (wanted.answer && verdictOf(card) !== wanted.answer) return false;
  const layer = card.convergence_layer;
  if (wanted.from !== "" && (layer === null || layer < Number(wanted.from))) return false;
  if (wanted.to !== "" && (layer === null || layer > Number(wanted.to))) return false;
  const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => card.words.includes(word));
}

const wanted = () => Object.fromEntries(FIELDS.map((name) => [name, byId(name).value]));

function refresh(written = true) {
  const now = wanted();
  let n = 0;
  for (const card of cards) {
    card.element.hidden = !passes(card, now);
    if (!card.element.hidden) n += 1;
  }
  byId("count").textContent = `${n} of ${cards.length} samples`;
  if (!written) return;
  const parts = new URLSearchParams(Object.entries(now).filter(([, value]) => value !== ""));
  history.replaceState(null, "", `#${parts}`);
  remember(INDEX_HASH, `#${parts}`);
}

function followHash() {
  const given = new URLSearchParams(location.hash.slice(1, 2000));
  for (const name of FIELDS) {
    const field = byId(name);
    const value = given.get(name) ?? "";
    // A select takes only what it has, a number only digits.
    const fits = field.options ? [...field.options].some((option) => option.value === value) : true;
    field.value = fits && (field.type !== "number" || /^\d{0,4}$/.test(value)) ? value.slice(0, 200) : "";
  }
  refresh(false);
  remember(INDEX_HASH, location.hash);
}

function startIndex() {
  setUpTheme();
  for (const name of ["model", "dataset"]) {
    const values = [...new Set(cards.map((card) => card[name]))].sort();
    byId(name).replaceChildren(
      element("option", { value: "", textContent: "all" }),
      ...values.map((value) => element("option", { value, textContent: visible(value, false) })),
    );
  }
  for (const card of cards) {
    card.words = [card.title, card.model, card.dataset, card.question, card.answer, card.gold].join("\n").toLowerCase();
    card.element = cardElement(card);
  }
  byId("cards").replaceChildren(...cards.map((card) => card.element));
  byId("filters").addEventListener("input", () => refresh());
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(refresh));
  addEventListener("hashchange", followHash);
  followHash();
  document.documentElement.dataset.ready = "yes";
}

startIndex();

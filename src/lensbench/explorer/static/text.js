// Texts of anybody's on the page: never as markup, and with nothing in them that can't be seen.

// Controls, formats (the bidirectional ones among them), halves of pairs, private, unassigned
// characters, and all separators but the plain space.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u;

function glyph(character, isToken) {
  const code = character.codePointAt(0);
  if (code === 0x20) return isToken ? "␣" : " ";
  if (isToken && code === 0x0a) return "↵";
  if (isToken && code === 0x09) return "⇥";
  if (!isToken && code === 0x0a) return "\n";
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Return a text with every character in sight; a token's spaces and line ends as signs. */
function visible(text, isToken = true) {
  let shown = "";
  for (const character of text) {
    shown += UNSEEN.test(character) ? glyph(character, isToken) : character;
  }
  // An accent alone would sit on whatever stands before it.
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown;
}

/** Return an element with a text in it, or with others. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Return a text that can't turn its neighbours around. */
function isolated(text, className = "") {
  return element("bdi", { textContent: text, className });
}

const byId = (id) => document.getElementById(id);

/** What the page was made with. */
function payload() {
  return JSON.parse(byId("payload").textContent);
}

const THEME = "lensbench-theme";
const INDEX_HASH = "lensbench-index"; // How the index was filtered.

/** Keep a word for the other pages; a browser may forbid pages from disk to keep anything. */
function remember(key, value) {
  try {
    (key === THEME ? localStorage : sessionStorage).setItem(key, value);
  } catch {
    // Then it holds for this page alone.
  }
}

function remembered(key) {
  try {
    return (key === THEME ? localStorage : sessionStorage).getItem(key);
  } catch {
    return null;
  }
}

/** Dark or light, as the system says until somebody says otherwise. */
function setUpTheme(changed = () => {}) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = remembered(THEME);
  let chosen = ["dark", "light"].includes(stored) ? stored : null;
  const apply = () => {
    document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light");
    changed();
  };
  const toggle = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    remember(THEME, chosen);
    apply();
  };
  dark.addEventListener("change", apply);
  byId("theme").addEventListener("click", toggle);
  apply();
  return toggle;
}

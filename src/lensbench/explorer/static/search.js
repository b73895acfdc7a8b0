// The field that finds a token, the count of its hits, and the way from one to the next.

function setUpSearch() {
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("token").addEventListener("input", () => choose({ token: byId("token").value }, false));
  byId("part").addEventListener("change", () => choose({ part: byId("part").checked }, false));
  byId("next").addEventListener("click", () => goToHit(1));
  byId("previous").addEventListener("click", () => goToHit(-1));
  byId("token").addEventListener("keydown", (event) => {
    if (event.key === "Enter") goToHit(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") byId("token").blur();
  });
}

/** Look for the token with that index. */
function searchFor(index) {
  const text = data.tokens.text[index].trim();
  const asShown = isOdd(index) || text === "" || UNSEEN.test(text);
  choose({ token: asShown ? tokenText(index) : text, part: false }, false);
}

/** Choose the next hit (1) or the one before (-1). */
function goToHit(direction) {
  const hit = stepToHit(direction);
  if (!hit) return;
  const at = found.at;
  choose({ selected: hit[0], layer: hit[1], locked: true });
  found.at = at;
  drawHits();
}

/** Say how many hits there are. */
function drawHits() {
  const place = byId("hits");
  byId("next").disabled = byId("previous").disabled = !found.list.length;
  if (!state.token) {
    place.textContent = "";
    return;
  }
  if (!found.list.length) {
    place.textContent = "Not among the top tokens of any position and layer.";
    return;
  }
  const patches = [...found.positions].filter((position) => data.isPatch(position)).length;
  const where = data.views.length ? `, ${counted(patches, "patch", "patches")} among them` : "";
  const at = found.at < 0 ? "" : ` Hit ${found.at + 1}: ${nameOf(found.list[found.at][0])}, layer ${found.list[found.at][1]}.`;
  place.textContent = `${counted(found.list.length, "hit")} at ${counted(found.positions.size, "position")}${where}.${at}`;
}

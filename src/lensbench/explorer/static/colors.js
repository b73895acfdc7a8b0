// Colours that the colour-blind can tell apart: cividis for amounts, Okabe and Ito's for kinds.

// Every eighth of cividis (Nuñez, Anderton and Renslow 2018).
const CIVIDIS = [
  [0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [165, 156, 116], [195, 179, 105], [254, 232, 56],
];
const RAMP = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(at), CIVIDIS.length - 2);
  const mix = CIVIDIS[low].map((value, c) => value + (CIVIDIS[low + 1][c] - value) * (at - low));
  return `rgb(${mix.map(Math.round).join(" ")})`;
});
const KINDS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"];
const OTHER = "#9a9a9a";

/** Return the colour of an amount between 0 and 1. */
const ramp = (share) => RAMP[Math.round(255 * Math.min(1, Math.max(0, share)))];

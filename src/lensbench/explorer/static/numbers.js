// Numbers as they are shown: probabilities from their codes, with the digits that were stored.

const PER_DECADE = 900;
const TINY = 65535;

const PROBABILITIES = new Float64Array(65536);
for (let code = 0; code < 64800; code += 1) {
  const decade = Math.floor(code / PER_DECADE);
  PROBABILITIES[code] = (100 + (code % PER_DECADE)) / 10 ** (2 + decade);
}

/** Return the probability that a code stands for. */
const probabilityOf = (code) => PROBABILITIES[code];

/** Return a probability's code as text: "36.7 %" down to "0.0100 %", "9.87e-5" below. */
function shownProbability(code) {
  if (code === TINY) return "< 1e-71";
  const digits = String(100 + (code % PER_DECADE));
  const decade = Math.floor(code / PER_DECADE); // The number is d.dd · 10^-decade.
  if (decade > 4) return `${digits[0]}.${digits.slice(1)}e-${decade}`;
  const padded = digits.padStart(3 + Math.max(0, decade - 2), "0");
  const whole = Math.max(1, 3 - decade); // Digits before the point, in percent.
  const fraction = padded.slice(whole);
  return `${padded.slice(0, whole)}${fraction ? `.${fraction}` : ""} %`;
}

/** Return a number of nats with two digits. */
const shownNats = (value) => `${value.toFixed(2)} nats`;

/** Return a count with its noun: "1 hit", "2 hits". */
const counted = (n, noun, many = `${noun}s`) => `${n.toLocaleString("en")} ${n === 1 ? noun : many}`;

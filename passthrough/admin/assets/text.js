/* Figures, money and times as text. Money comes as digits, is rounded on digits, and is never added up here. */

/** Digits with commas between thousands; the decimals stay as they are. */
export const grouped = (text) => {
  const [whole, rest] = String(text).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : "." + rest);
};

/** Decimal digits rounded half up: a float could not hold every one of them. */
export const rounded = (text, decimals) => {
  const [whole, rest = ""] = String(text).split(".");
  const kept = BigInt(whole + rest.slice(0, decimals).padEnd(decimals, "0")) + (rest[decimals] >= "5" ? 1n : 0n);
  const digits = String(kept).padStart(decimals + 1, "0");
  return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
};

/** Dollars with all their decimals, and at least two. */
export const exactDollars = (text) => {
  if (text === null) return "–";
  const [whole, rest = ""] = String(text).split(".");
  return `$${grouped(whole)}.${rest.padEnd(2, "0")}`;
};

/** Dollars for the eye: cents; four digits below a dollar; what is less than those is not shown as nothing. */
export const dollars = (text) => {
  if (text === null) return "–";
  const value = Number(text);
  if (value === 0) return "$0.00";
  const fine = rounded(text, 4);
  if (Number(fine) === 0) return "<$0.0001";
  return "$" + (Number(fine) < 1 ? fine : grouped(rounded(text, 2)));
};

export const capital = (text) => text[0].toUpperCase() + text.slice(1);
export const count = (number, one, many = `${one}s`) => `${grouped(number)} ${number === 1 ? one : many}`;
export const named = (value) => (value === null || value === "" ? "(none)" : String(value));
export const took = (s) => (s < 1 ? `${Math.round(s * 1000)} ms` : `${s < 10 ? s.toFixed(1) : grouped(Math.round(s))} s`);
export const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format;

/** How much more than before, in per cent; null where nothing can be compared. */
export const change = (now, before) => {
  if (!(before > 0)) return null;
  const percent = (now / before - 1) * 100;
  if (Math.abs(percent) < 0.5) return "±0 %";
  const figure = percent >= 1000 ? `× ${grouped(Math.round(now / before))}` : `${grouped(Math.round(Math.abs(percent)))} %`;
  return percent >= 1000 ? figure : `${percent > 0 ? "+" : "−"}${figure}`;
};

// ── times: UTC, and said to be ──

export const DAY_MS = 86400000;
export const utc = (ms) => new Date(ms).toISOString();
export const today = () => utc(Date.now()).slice(0, 10);

/** The time of day of what was today, else the day too. */
export const clock = (iso) => (iso.startsWith(today()) ? `${iso.slice(11, 19)}Z` : minute(iso));
export const minute = (iso) => `${iso.slice(0, 10)} ${iso.slice(11, 16)}Z`;

/** A bound of a period: a day, or with its minute where it is not the day's begin. */
export const bound = (ms) => (ms % DAY_MS ? minute(utc(ms)) : utc(ms).slice(0, 10));

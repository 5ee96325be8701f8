/* Elements: every text from outside enters as text, never as markup. */
import { dollars, exactDollars } from "./text.js";

export const at = (id) => document.getElementById(id);

/** An element with properties and children; strings become text. */
export const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
};

/** Dollars for the eye, the exact ones as value and on hover. `aligned`: where the column has rows of four decimals, a row of
    two is as wide as those. */
export const money = (text, aligned = false) => {
  const shown = dollars(text);
  if (text === null) return shown;
  const short = aligned && shown.split(".")[1].length === 2;
  return made("data", { value: String(text), title: exactDollars(text), className: short ? "money short" : "money" }, shown);
};

/** Money for the rows of one column. */
export const column = (rows) => {
  const isFine = rows.some(({ cost_usd: text }) => dollars(text).split(".")[1]?.length === 4);
  return (text) => money(text, isFine);
};

/** Put children in the place of an element's; what has the focus in it keeps it: it is known by its `data-key`. */
export const replace = (place, ...children) => {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.replaceChildren(...children.filter((child) => child !== null));
  if (key !== undefined) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
};

/** A button within a row, that a click anywhere in the row presses too. */
export const pick = (text, { key, title, pressed = null, chosen }) => {
  const button = made("button", { type: "button", className: "pick", title, onclick: chosen }, text);
  button.dataset.key = key;
  if (pressed !== null) button.setAttribute("aria-pressed", String(pressed));
  return button;
};

/** A table with roles of its own: narrow screens lay its rows out as blocks, which would take the native ones away. */
export const table = (caption, heads, rows) => {
  const role = (element, name) => (element.setAttribute("role", name), element);
  const cell = (content, place) => {
    const { head, number } = heads[place];
    const element = place ? role(made("td"), "cell") : role(made("th", { scope: "row" }), "rowheader");
    if (number) element.className = "number";
    element.dataset.head = head;
    element.append(...[content].flat().filter((part) => part !== null));
    return element;
  };
  const row = (cells) => {
    const element = role(made("tr", {}, ...cells.map(cell)), "row");
    const button = element.querySelector("th .pick");
    if (!button) return element;
    element.className = "picks";
    element.addEventListener("click", ({ target }) => {
      if (!target.closest("button, a") && !String(getSelection())) button.click();
    });
    return element;
  };
  const head = heads.map(({ head: text, number }) =>
    role(made("th", { scope: "col", className: number ? "number" : "" }, text), "columnheader"));
  return role(made("table", {}, made("caption", { className: "hidden" }, caption),
    role(made("thead", {}, role(made("tr", {}, ...head), "row")), "rowgroup"),
    role(made("tbody", {}, ...rows.map(row)), "rowgroup")), "table");
};

const narrow = matchMedia("(max-width: 520px)");
const opened = new Set();
const lists = new Map();
narrow.addEventListener("change", () => lists.forEach((show) => show()));

/** Put a table in its place, with its first rows only; the others open in place, and stay so at the next refresh. `row` makes
    the cells of one. */
export const listed = (id, caption, heads, items, row, { wide = 10, few = 5 } = {}) => {
  const show = () => {
    const limit = narrow.matches ? few : wide;
    const isOpen = opened.has(id) || items.length <= limit + 1;  // one row is as long as the button for it
    const shown = isOpen ? items : items.slice(0, limit);
    const parts = [table(caption, heads, shown.map((item) => row(item, shown)))];
    if (items.length > limit + 1) {
      const button = made("button", { type: "button", className: "more", onclick: () => (opened.has(id) ? opened.delete(id) : opened.add(id), show()) },
        isOpen ? "Fewer" : `+ ${items.length - limit} more`);
      button.setAttribute("aria-expanded", String(isOpen));
      button.dataset.key = "more";
      parts.push(button);
    }
    replace(at(id), ...parts);
  };
  lists.set(id, show);
  show();
};

/** A bar as long as a share, for the eye: the figures beside it say the same. */
export const bar = (share, kind = "") => {
  const inner = made("span", { className: kind });
  inner.style.width = `${Math.min(100, Math.max(0, share * 100)).toFixed(2)}%`;
  const outer = made("span", { className: "bar" }, inner);
  outer.setAttribute("aria-hidden", "true");
  return outer;
};

/* What is shown: the period, the filters and the list of exchanges. The page's address holds them all, so that it can be shared. */
import { at, made } from "./elements.js";
import { query } from "./requests.js";
import { capital, DAY_MS, named, today, utc } from "./text.js";

export const FILTERS = ["client", "model", "route"];
const LISTED = ["errors", "unmetered", "unpriced", "status", "error", "outcome", "target", "deployment", "sandbox"];
const LABEL = "label", NAMED = "label.", PERIOD = "30", DATES = "dates";
const form = at("filters"), list = at("list");
let isLabelChosen = false;

export const label = () => form.label.value;
export const unprefixed = (name) => (name.startsWith(NAMED) ? name.slice(NAMED.length) : name);

// ── the period ──

/** The query of the period. The server's clock says which the last days are. */
export const period = () => {
  const chosen = form.period.value;
  if (chosen === "all") return {};
  if (chosen === DATES) {
    const [from, to] = [form.from.value, form.to.value];
    return { ...(from ? { since: from } : {}), ...(to ? { until: utc(Date.parse(to) + DAY_MS).slice(0, 10) } : {}) };
  }
  const [year, month] = today().split("-").map(Number);
  const first = (back) => utc(Date.UTC(year, month - 1 - back, 1)).slice(0, 10);
  if (chosen === "month") return { since: first(0) };
  if (chosen === "last-month") return { since: first(1), until: first(0) };
  return { since: `${chosen}d` };
};

/** The stretch before the period that is as long as what has passed of it, in milliseconds; null where there is none. To ten
    minutes, so that it is not summed anew at every refresh. */
export const periodBefore = (since) => {
  if (!since) return null;
  const now = Math.floor(Date.now() / 600000) * 600000;
  const begin = Date.parse(since), until = period().until;
  const end = until ? Math.min(Date.parse(until), now) : now;
  if (end <= begin) return null;
  const month = (ms) => Date.UTC(new Date(ms).getUTCFullYear(), new Date(ms).getUTCMonth() - 1, 1);
  if (["month", "last-month"].includes(form.period.value)) return [month(begin), Math.min(month(begin) + (end - begin), begin)];
  const length = Math.ceil((end - begin) / DAY_MS) * DAY_MS;
  return [begin - length, end - length];
};

/** The running month: its first moment, and its end. */
export const month = () => {
  const [year, number] = today().split("-").map(Number);
  return [Date.UTC(year, number - 1, 1), Date.UTC(year, number, 1)];
};

// ── the filters ──

/** The query of the filters. */
export const filters = () => {
  const set = FILTERS.filter((name) => form[name].value !== "*").map((name) => [name, form[name].value.slice(1)]);
  if (form.value.value !== "*") set.push([form.label.value, form.value.value.slice(1)]);
  return Object.fromEntries(set);
};

/** The query of the list of exchanges: empty for all. */
export const listed = () => Object.fromEntries(new URLSearchParams(list.value));

const choose = (select, value, text) => {
  if (![...select.options].some((option) => option.value === value)) select.append(made("option", { value }, text));
  select.value = value;
};
const chooseValue = (select, value) => choose(select, "=" + value, named(value));
const field = (name) => (name === form.label.value ? form.value : form[name]);

/** Options hold their value behind a "=", so that a client may be called "*", and none is the empty one. */
export const offer = (name, groups, key = name) => {
  const select = form[name];
  const kept = select.value;
  const values = groups.map((group) => "=" + (group[key] ?? ""));
  if (kept !== "*" && !values.includes(kept)) values.push(kept);
  const wanted = ["*", ...values.sort()];
  if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  select.replaceChildren(...wanted.map((value) =>
    made("option", { value }, value === "*" ? "All" : named(value.slice(1)))));
  select.value = kept;
};

/** Offer the plain label, the named ones, and the one that was chosen, also where the ledger does not have it. `groups` are all
    by that one. Returns false where the first of the named ones is now chosen instead: nothing has a plain label. */
export const offerLabels = (names, groups) => {
  const kept = form.label.value;
  const isUnlabelled = groups.every((group) => group[kept] === null);
  if (isUnlabelled && kept === LABEL && names.length && !isLabelChosen) {
    choose(form.label, NAMED + names[0], names[0]);
    return false;
  }
  const wanted = [...new Set([LABEL, ...names.map((name) => NAMED + name), kept])];
  if (wanted.join("\n") !== [...form.label.options].map((option) => option.value).join("\n")) {
    form.label.replaceChildren(...wanted.map((value) => made("option", { value }, unprefixed(value))));
    form.label.value = kept;
  }
  at("label-choice").hidden = !names.length && kept === LABEL;
  at("value-choice").firstChild.data = at("label-choice").hidden ? "Label " : `${capital(unprefixed(kept))} `;
  at("value-choice").hidden = isUnlabelled && form.value.value === "*";
  offer("value", groups, kept);
  return true;
};

/** Whether a filter has this value. */
export const isChosen = (name, value) => field(name).value === "=" + (value ?? "");

// ── the address ──

const own = () => ({
  ...(form.period.value === PERIOD ? {} : { period: form.period.value }),
  ...(form.period.value === DATES ? { from: form.from.value, to: form.to.value } : {}),
  ...(isLabelChosen ? { by: form.label.value } : {}),
});

/** The address of a list of exchanges, or of a section, with what is chosen now. */
export const link = (hash, only = listed()) => {
  const set = query(own(), filters(), only);
  return (set ? `?${set}` : location.pathname) + hash;
};

/** The words for a list of exchanges. */
const listText = ({ errors, unmetered, unpriced, status, error, outcome, target, deployment }) => {
  const parts = [status === "" ? "no status" : status, error || (outcome === "completed" ? null : outcome), unpriced && "unpriced",
    unmetered === "any" ? "unmetered" : unmetered, deployment ?? target ? `at ${deployment ?? target}` : null].filter(Boolean);
  return capital(parts.join(" ") || (errors ? "errors" : "some"));
};

const restore = () => {
  const given = new URLSearchParams(location.search);
  form.period.value = [...form.period.options].some((option) => option.value === given.get("period")) ? given.get("period") : PERIOD;
  for (const name of ["from", "to"]) form[name].value = given.get(name) ?? "";
  for (const name of FILTERS) given.has(name) ? chooseValue(form[name], given.get(name)) : (form[name].value = "*");
  const only = Object.fromEntries(LISTED.filter((name) => given.has(name)).map((name) => [name, given.get(name)]));
  choose(list, query(only), listText(only));
  const filtered = [...given.keys()].find((name) => name === LABEL || name.startsWith(NAMED));
  const name = filtered ?? given.get("by") ?? "";
  isLabelChosen = name === LABEL || name.startsWith(NAMED);
  choose(form.label, isLabelChosen ? name : LABEL, unprefixed(name));
  filtered === undefined ? (form.value.value = "*") : chooseValue(form.value, given.get(filtered));
  say();
};

/** Say in one line what is chosen: on a narrow screen the filters are closed. */
const say = () => {
  at("dates").hidden = form.period.value !== DATES;
  const dates = [form.from.value || "the first day", form.to.value || "today"].join(" to ");
  const parts = [form.period.value === DATES ? dates : form.period.selectedOptions[0].text, ...Object.entries(filters()).map(([name, value]) => `${unprefixed(name)} ${named(value)}`)];
  at("chosen").textContent = parts.join(" · ");
};

/** Go to an address of this page; a step back returns. */
export const go = (href) => {
  history.pushState(null, "", href);
  restore();
};

/** Choose a value of a filter, or all again where it is chosen. */
export const toggle = (name, value) => {
  if (isChosen(name, value)) field(name).value = "*";
  else chooseValue(field(name), value ?? "");
  if (name === form.label.value) isLabelChosen = true;
  go(link(""));
};

/** Choose one day. */
export const chooseDay = (day) => {
  form.period.value = DATES;
  form.from.value = form.to.value = day;
  go(link(""));
};

/** Follow what a person chooses; `changed` is called after each choice. `shown` returns the first day that is shown. */
export const follow = (changed, shown) => {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target === form.label) {
      form.value.value = "*";  // its values were another label's
      isLabelChosen = true;
    }
    if (target === form.period && target.value === DATES) [form.from.value, form.to.value] = [form.from.value || shown(), form.to.value || today()];
    history.replaceState(null, "", link(""));
    say();
    changed();
  });
  list.addEventListener("change", () => {
    history.replaceState(null, "", link(""));
    changed();
  });
  at("clear").addEventListener("click", () => {
    history.replaceState(null, "", location.pathname);
    restore();
    changed();
  });
  addEventListener("popstate", () => {
    restore();
    changed();
  });
  restore();
};

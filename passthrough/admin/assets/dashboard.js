/* The dashboard: requests JSON from the admin port, and shows it. Every sum is the ledger's: only forecast, cost per page and
   changes are reckoned here, and are said to be what they are. */
import { at } from "./elements.js";
import { ask, query, Trouble } from "./requests.js";
import { FILTERS, filters, follow, go, label, listed, month, offer, offerLabels, period, periodBefore, unprefixed } from "./choices.js";
import { showAttention } from "./attention.js";
import { showBudgets, showDays, showErrors, showExchanges, showGroups, showPools, showTotal } from "./sections.js";
import { count, DAY_MS, utc } from "./text.js";

const EVERY_MS = 5000;      // between two requests for the latest exchanges
const SUMS_MS = 60000;      // sums are requested when an exchange is new, and at least this often

const facts = {};           // what is known, of which some may need attention
let round = 0, timer = 0, seen = null, summedAt = 0, newest = "", firstDay = "", answeredAt = null;
let kept = { key: null };   // the sums of the stretch before: they change with the clock only

const sums = (by, ...parts) => ask("usage?" + query(...parts, { by }));

/** The sums of the stretch before, by model; null where there is none. */
const before = async (since, only) => {
  const span = periodBefore(since);
  if (span === null) return null;
  const [from, until] = span.map(utc);
  const key = query({ since: from, until }, only);
  if (kept.key !== key) kept = { key, span, ...(await sums("model", { since: from, until }, only)) };
  return kept;
};

/** The running month's cost, and what it is at its end if it goes on like this; null on its first day: that says too little. */
const forecast = async (only) => {
  const [begin, end] = month(), now = Date.now();
  if (now - begin < DAY_MS) return null;
  const { total } = await sums("", { since: utc(begin).slice(0, 10) }, only);
  const share = (now - begin) / (end - begin);
  return { cost: total.cost_usd, forecast: Number(total.cost_usd) / share, day: Math.ceil((now - begin) / DAY_MS), days: Math.round((end - begin) / DAY_MS) };
};

const showNote = ({ sandbox, left_out: leftOut }) => {
  const note = at("note");
  note.textContent = sandbox ? "This is the sandbox's traffic: what it would have cost."
    : leftOut ? `Without ${count(leftOut, "request")} to the sandbox.` : "";
  note.hidden = !note.textContent;
};

const showSums = async (current) => {
  const span = period(), only = filters(), by = label();
  const isFiltered = Object.keys(only).length > 0;
  const [{ labels }, byDay, byLabel, ...groups] =
    await Promise.all([ask("labels"), ...["day", by, ...FILTERS].map((name) => sums(name, span, only))]);
  const [labelled, ...offered] = isFiltered ? await Promise.all([by, ...FILTERS].map((name) => sums(name, span))) : [byLabel, ...groups];
  if (!current()) return;
  if (!offerLabels(labels, labelled.groups)) return showSums(current);
  FILTERS.forEach((name, place) => offer(name, offered[place].groups));
  facts.real = byDay.sandbox || !byDay.left_out ? {} : { sandbox: "exclude" };  // as the sums are
  facts.total = byDay.total;
  firstDay = (byDay.since ?? byDay.groups[0]?.day ?? "").slice(0, 10);
  const some = byDay.total.requests > 0;
  showNote(byDay);
  at("csv").href = "usage.csv?" + query(span, only, { by: `day,client,${by},route,model` });
  if (some) {
    const models = groups[FILTERS.indexOf("model")].groups;
    const [recent, earlier, running] = await Promise.all([ask("recent?" + query(span, only, facts.real)), before(byDay.since, only), forecast(only)]);
    if (!current()) return;
    facts.recent = recent;
    at("figures").hidden = false;  // before the charts are drawn: they are as wide as their place
    showTotal({ total: byDay.total, models, recent, before: earlier, month: running });
    showDays(byDay, changed);
    FILTERS.forEach((name, place) => showGroups(name, groups[place].groups, changed));
    at("labels").hidden = byLabel.groups.every((group) => group[by] === null);
    at("label-head").textContent = `By ${unprefixed(by)}`;
    if (!at("labels").hidden) showGroups("label", byLabel.groups, changed, by, unprefixed(by));
    showErrors(recent, facts.real, followed);
  } else {
    facts.recent = undefined;
    at("figures").hidden = true;
    await showTrial();
  }
  at("empty").hidden = some;
};

/** The empty page's command, as the program that runs here takes it. */
const showTrial = async () => {
  const { title, command } = await ask("trial");
  at("trial").hidden = command === null;
  at("trial-title").textContent = title ?? "";
  at("trial-command").textContent = command ?? "";
};

const showHealth = ({ status }) => showPill(status === "ok" ? "well" : "ill", status);
const showPill = (kind, text) => {
  const pill = at("health");
  pill.className = `pill ${kind}`;
  if (pill.textContent !== text) pill.textContent = text;
};

const showTrouble = (text) => {
  const place = at("trouble");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
};

/** One refresh. A later one cancels an earlier one that still waits: its responses are for filters no longer in force. */
const look = async (all = false) => {
  clearTimeout(timer);
  const mine = ++round;
  const current = () => mine === round;
  const isList = Object.keys(listed()).length > 0;
  try {
    const latestRequest = ask("exchanges?" + query(period(), filters(), listed(), { limit: isList ? "100" : "30" }));
    latestRequest.catch(() => {});  // awaited below, after what needs no ledger is shown
    const [health, { budgets }, { deployments }] = await Promise.all([ask("readyz"), ask("budgets"), ask("deployments")]);
    if (!current()) return;
    Object.assign(facts, { health, budgets, deployments });
    showHealth(health);
    showBudgets({ budgets }, changed);
    showPools({ deployments });
    showAttention(facts, followed);
    const latest = await latestRequest;
    if (!current()) return;
    const found = JSON.stringify(latest.exchanges);
    if (all || found !== seen || Date.now() - summedAt > SUMS_MS) {
      await showSums(current);
      if (!current()) return;
      showExchanges(latest.exchanges);
      showAttention(facts, followed);
      announce(latest.exchanges, all);
      seen = found;
      summedAt = Date.now();
    }
    answeredAt = `${utc(Date.now()).slice(11, 19)}Z`;
    at("updated").textContent = `Live, ${answeredAt}`;
    showTrouble("");
  } catch (error) {
    if (!current()) return;
    if (!(error instanceof Trouble)) console.error(error);
    seen = null;
    if (error.isGone) {
      showPill("gone", "gone");
      at("updated").textContent = answeredAt === null ? "" : `Last answer at ${answeredAt}`;
    }
    showTrouble(error instanceof Trouble ? error.message : "This page has a defect; its console says which. Please report it.");
  }
  document.body.dataset.round = String(round);
  if (!document.hidden) timer = setTimeout(look, EVERY_MS);
};

/** Announce what is new to screen readers, once; ids sort by time. */
const announce = (exchanges, all) => {
  const fresh = exchanges.filter((exchange) => exchange.id > newest).length;
  newest = exchanges.reduce((last, { id }) => (id > last ? id : last), newest);
  at("news").textContent = all ? "The figures are those of the chosen filters." : fresh ? count(fresh, "new exchange") : "";
};

const changed = () => look(true);

/** Go to the section that the address names: it is hidden until there is something in it. */
const arrive = () => {
  const section = location.hash.length > 1 ? at(location.hash.slice(1)) : null;
  if (!section) return;
  for (const part of section.querySelectorAll("details.part")) part.open = true;
  section.scrollIntoView();
  section.querySelector("h2")?.focus({ preventScroll: true });
};

/** Follow a link within this page. */
const followed = async (href) => {
  go(href);
  await changed();
  arrive();
};

/** Open what there is room for: on a phone the first two of the groups say most, and filters are closed. */
const suit = (query, parts) => {
  const open = () => parts.forEach((part) => { part.open = !query.matches; });
  query.addEventListener("change", open);
  open();
};
suit(matchMedia("(max-width: 520px)"), ["route", "label", "errors", "pools"].map((name) => at(`${name}-head`).closest("details")));
suit(matchMedia("(max-width: 860px)"), [at("choices")]);
follow(changed, () => firstDay);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
look(true).then(arrive);

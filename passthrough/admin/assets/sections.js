/* The sections: figures, charts and tables. */
import { bar, at, column, listed, made, money, pick, replace, table } from "./elements.js";
import { chooseDay, isChosen, link, listed as listQuery, toggle } from "./choices.js";
import { isClosed, isNear, isUsedUp, whose } from "./attention.js";
import { draw } from "./charts.js";
import { bound, capital, change, clock, compact, count, DAY_MS, dollars, grouped, minute, named, took, utc } from "./text.js";

const MAX_RECENT = 10000;

/** Dollars for a page, over the groups of which all is known and nothing but pages was paid for; null without one. */
export const perPage = (groups) => {
  const plain = groups.filter((group) => group.pages + group.pages_annotated > 0 && !group.unpriced && !group.tokens_in && !group.tokens_out && Number(group.cost_usd) > 0);
  const pages = plain.reduce((sum, group) => sum + group.pages + group.pages_annotated, 0);
  return pages ? plain.reduce((sum, group) => sum + Number(group.cost_usd), 0) / pages : null;
};
const small = (text, className = "") => made("small", { className }, text);

// ── the figures at the top ──

/** `before` and `run` are the sums of the stretch before, and of the running month; null where there is none. */
export const showTotal = ({ total, models, recent, before, month }) => {
  const cards = [];
  /** A figure that is zero has no card. */
  const add = (head, value, shown, { was = null, aside = null, title = "" } = {}) => {
    if (!value) return;
    const differs = was === null ? null : change(Number(value), Number(was));
    const beside = [differs, aside].filter(Boolean).join(" · ");
    cards.push(made("div", { title }, made("dt", {}, head), made("dd", {}, shown), beside ? made("dd", { className: "aside" }, beside) : null));
  };
  const plain = (head, name, more = {}) => add(head, total[name], grouped(total[name]), { was: before?.total[name] ?? null, ...more });
  const isFree = Number(total.cost_usd) === 0;
  add("Cost", "always", total.unpriced && isFree ? "unpriced" : money(total.cost_usd),
    { aside: [change(Number(total.cost_usd), Number(before?.total.cost_usd ?? 0)), total.unpriced && !isFree ? `${grouped(total.unpriced)} unpriced` : null].filter(Boolean).join(" · ") });
  if (month !== null) add("Month's forecast", month.forecast, `≈ ${month.forecast < 10 ? dollars(month.forecast.toFixed(4)) : "$" + grouped(Math.round(month.forecast))}`, {
    aside: `${dollars(month.cost)} by day ${month.day} of ${month.days}`,
    title: "A forecast: the cost of this month (UTC) so far, as if the rest of it went on like that." });
  plain("Pages", "pages");
  plain("Annotated", "pages_annotated");
  const [page, was] = [perPage(models), before === null ? null : perPage(before.groups)];
  add("Cost per page", page, page === null ? "" : dollars(page.toFixed(9)), { was, title: "Of what is paid by the page alone, and has a price." });
  plain("Requests", "requests");
  const of = recent.is_all ? null : `newest ${grouped(MAX_RECENT)}`;
  for (const [head, name] of [["Latency, median", "median_s"], ["Latency, p95", "p95_s"]]) {
    const s = recent.latency[name];
    add(head, s, s === null ? "" : took(s), { aside: of, title: "Of requests that an upstream answered." });
  }
  const tokens = (sums) => sums.tokens_in + sums.tokens_out;
  const parts = [[total.tokens_in, "in"], [total.tokens_out, "out"], [total.tokens_cached, "cached"]].filter(([figure]) => figure);
  add("Tokens", tokens(total), grouped(tokens(total)), { was: before === null ? null : tokens(before.total), aside: parts.map(([figure, what]) => `${grouped(figure)} ${what}`).join(", ") });
  plain("Estimated pages", "estimated_pages");
  if (Number(total.estimated_usd ?? 0)) add("Estimated cost", total.estimated_usd, money(total.estimated_usd));
  at("total").replaceChildren(...cards);
  at("compared").hidden = !before?.total.requests;
  if (before?.total.requests) at("compared").textContent = `Changes are against ${before.span.map(bound).join(" to ")}.`;
};

// ── days ──

/** Every day of the period, also those without a request. */
const days = ({ groups, since, until }) => {
  const found = new Map(groups.map((group) => [group.day, group]));
  const last = Math.min(until ? Date.parse(until) - 1 : Date.now(), Date.now());
  const all = [];
  for (let ms = Date.parse((since ?? groups[0].day).slice(0, 10)); ms <= last; ms += DAY_MS) all.push(utc(ms).slice(0, 10));
  return all.map((day) => found.get(day) ?? { day, requests: 0, pages: 0, pages_annotated: 0, cost_usd: "0", unpriced: 0 });
};

export const showDays = (byDay, changed) => {
  const all = days(byDay);
  const x = all.map(({ day }) => Date.parse(day) / 1000);
  const pages = all.map((group) => group.pages);
  const both = all.map((group) => group.pages + group.pages_annotated);
  const choose = (day) => (chooseDay(day), changed());
  const pointed = (id, text) => ({
    moved: (place) => { at(id).textContent = place == null || !all[place] ? "" : `${all[place].day}: ${text(all[place])}`; },
    picked: (place) => { if (all[place]) choose(all[place].day); },
  });
  at("annotated-key").hidden = !all.some((group) => group.pages_annotated);
  draw("pages-chart", ["--second", "--first"], compact, [x, both, pages], pointed("pages-at", (group) =>
    count(group.pages, "page") + (group.pages_annotated ? `, ${grouped(group.pages_annotated)} annotated` : "")));
  draw("cost-chart", ["--first"], (value) => "$" + compact(value), [x, all.map((group) => Number(group.cost_usd))],
    pointed("cost-at", (group) => dollars(group.cost_usd)));
  const isAnnotated = all.some((group) => group.pages_annotated);  // a column of zeros says nothing
  const heads = ["Requests", "Pages", ...(isAnnotated ? ["Annotated"] : []), "USD"].map((head) => ({ head, number: true }));
  const usd = column(byDay.groups);
  replace(at("by-day"), table("Pages and cost by day", [{ head: "Day" }, ...heads], byDay.groups.toReversed().map((group) =>
    [pick(group.day, { key: group.day, title: "Show this day only", chosen: () => choose(group.day) }),
      grouped(group.requests), grouped(group.pages), ...(isAnnotated ? [grouped(group.pages_annotated)] : []), priced(group, usd)])));
};

// ── groups ──

/** The estimate of what was paid but is not known, beside the figures that are; nothing where there is none. */
const estimated = ({ estimated_pages: pages = null, estimated_usd: cost = null }) => {
  const isCost = cost && Number(cost) > 0;
  return pages || isCost ? made("small", {}, "estimated: ", pages ? count(pages, "page") + (isCost ? ", " : "") : null, isCost ? money(cost) : null) : null;
};

// What has no price is never shown as free of charge.
const priced = (group, usd) => {
  if (!group.unpriced) return usd(group.cost_usd);
  const without = small(`${grouped(group.unpriced)} unpriced`);
  return Number(group.cost_usd) > 0 ? [usd(group.cost_usd), without] : [without];
};

export const showGroups = (name, groups, changed, key = name, shownName = name) => {
  const byCost = groups.some((group) => Number(group.cost_usd) > 0);
  const weight = (group) => (byCost ? Number(group.cost_usd) : group.pages + group.pages_annotated);
  const sorted = groups.toSorted((a, b) => weight(b) - weight(a) || b.requests - a.requests);
  const most = Math.max(...groups.map(weight)) || 1;
  const heads = [{ head: capital(shownName) }, { head: "Requests", number: true }, { head: "Pages", number: true }, { head: "USD", number: true }];
  const usd = column(groups);
  at(`${name}-legend`).textContent = `Bar: ${byCost ? "cost" : "pages"}; the largest is whole.`;
  at(`by-${name}`).closest("section").classList.toggle("long", sorted.length > 5);
  listed(`by-${name}`, `Pages and cost by ${shownName}`, heads, sorted, (group) => {
    const pressed = isChosen(key, group[key]);
    const page = name === "model" ? perPage([group]) : null;
    const chosen = () => (toggle(key, group[key]), changed());
    return [
      [pick(named(group[key]), { key: `${key} ${named(group[key])}`, pressed, title: pressed ? "Show all again" : `Show this ${shownName} only`, chosen }), bar(weight(group) / most)],
      grouped(group.requests),
      [grouped(group.pages), group.pages_annotated ? small(`+ ${grouped(group.pages_annotated)} annotated`) : null, estimated(group)],
      [priced(group, usd), page === null ? null : small(`${dollars(page.toFixed(9))} a page`)].flat()];
  }, { few: name === "client" ? 5 : 4 });
};

// ── errors ──

export const showErrors = ({ errors, of, is_all: isAll }, real, followed) => {
  at("errors").hidden = !errors.length;
  at("errors-head").textContent = `Errors: ${grouped(errors.reduce((sum, { requests }) => sum + requests, 0))}`;
  at("errors-legend").textContent = isAll ? "" : `Of the newest ${grouped(of)} exchanges.`;
  const heads = [{ head: "Status and code" }, { head: "Requests", number: true }, { head: "Latest (UTC)", number: true }];
  listed("error-table", "Errors by status and code", heads, errors, ({ status, error, outcome, requests, latest }) => {
    const code = error ?? (outcome && outcome !== "completed" ? outcome : null);
    const only = { errors: "true", status: status ?? "", error: error ?? "", ...(outcome ? { outcome } : {}), ...real };
    return [pick([made("span", { className: "bad" }, status === null ? "none" : String(status)), code === null ? null : " ", code === null ? null : made("span", { className: "code" }, code)],
      { key: `error ${status} ${code}`, title: "List these exchanges", chosen: () => followed(link("#latest", only)) }),
    grouped(requests), made("time", { dateTime: latest }, clock(latest))];
  });
};

// ── budgets and pools ──

const RESET = { minute: (iso) => iso.slice(11, 19) + "Z" };

export const showBudgets = ({ budgets }, changed) => {
  at("budgets").hidden = !budgets.length;
  const shown = (budget, text) => (budget.unit === "usd" ? money(text) : grouped(text));
  const sorted = budgets.toSorted((a, b) => isClosed(b) - isClosed(a) || b.used_percent - a.used_percent);
  listed("budget-table", "Budgets, closed ones and the most used first",
    [{ head: "Whose" }, { head: "Used" }, { head: "Spent", number: true }, { head: "Limit", number: true }, { head: "Resets", number: true }], sorted, (budget) => {
      const isClient = budget.scope !== "all";
      const name = isClient ? pick(whose(budget), { key: `${whose(budget)} ${budget.unit} ${budget.per}`, title: `Show this ${budget.scope} only`, pressed: isChosen(budget.scope, budget.name),
        chosen: () => (toggle(budget.scope, budget.name), changed()) }) : made("span", { className: "name" }, whose(budget));
      return [
        [name, small(`${budget.unit === "usd" ? "USD" : budget.unit} per ${budget.per}`)],
        [`${grouped(budget.used_percent)} %${isUsedUp(budget) ? ", used up" : ""}${isClosed(budget) ? ", closed" : ""}`,
          bar(budget.used_percent / 100, isUsedUp(budget) || isClosed(budget) ? "over" : isNear(budget) ? "near" : ""),
          isClosed(budget) ? small(`no price: ${budget.unpriced}`, "lack") : null],
        shown(budget, budget.spent), shown(budget, budget.limit), (RESET[budget.per] ?? minute)(budget.resets)];
    }, { few: 3 });
};

/** Who takes which share of a model's calls since the start, and who is cooling and why. */
export const showPools = ({ deployments }) => {
  at("pools").hidden = !deployments.length;
  const answered = ({ tries }) => tries.answered ?? 0;
  const failures = ({ tries }) => Object.entries(tries).filter(([outcome]) => outcome !== "answered");
  const sums = {};
  for (const one of deployments) sums[one.model_group] = (sums[one.model_group] ?? 0) + answered(one);
  const state = ({ cooling, until }) => (cooling === null ? [made("span", { className: "good" }, "up")]
    : [made("span", { className: "bad" }, "cooling"), small(cooling, "code"), small(`until ${until.slice(11, 19)}Z`)]);
  listed("pool-table", "Deployments in the order of the file, with their shares since the start",
    [{ head: "Deployment" }, { head: "Share" }, { head: "State" }, { head: "Answered", number: true }, { head: "Failed tries", number: true }, { head: "Under way", number: true }],
    deployments, (one) => {
      const share = answered(one) / (sums[one.model_group] || 1);
      return [
        [made("span", { className: "name" }, one.deployment), small(`${one.model_group} at ${one.target}`)],
        [`${(share * 100).toFixed(1)} %`, bar(share)], state(one), grouped(answered(one)),
        [grouped(failures(one).reduce((sum, [, number]) => sum + number, 0)), ...failures(one).map(([why, number]) => small(`${why}: ${grouped(number)}`))],
        grouped(one.in_flight)];
    }, { wide: 20, few: 3 });
};

// ── exchanges ──

export const showExchanges = (exchanges) => {
  const isSome = Object.keys(listQuery()).length > 0;
  at("latest").hidden = !exchanges.length && !isSome;
  at("none").hidden = exchanges.length > 0;
  const time = ({ time: when }) => made("time", { dateTime: when }, clock(when));
  const pages = (exchange) => {
    const some = exchange.pages !== null || exchange.pages_annotated !== null;
    const tokens = exchange.tokens_in !== null || exchange.tokens_out !== null;
    return [some ? grouped(exchange.pages ?? 0) : "–",
      exchange.pages_annotated ? small(`+ ${grouped(exchange.pages_annotated)} annotated`) : null,
      tokens ? small(`${grouped(exchange.tokens_in ?? 0)} + ${grouped(exchange.tokens_out ?? 0)} tokens`) : null,
      exchange.unmetered ? small(exchange.unmetered, "bad code") : null, estimated(exchange)];
  };
  const status = ({ status: code, outcome, error, open, requests }) => {
    const bad = code === null || code >= 400 || outcome !== "completed";
    const why = open ? "not ended" : error ?? (outcome === "completed" ? null : outcome);
    return [made("span", { className: bad ? "bad" : "good" }, code === null ? "none" : String(code)), why ? small(why, "code") : null, requests > 1 ? small(count(requests, "request")) : null];
  };
  const usd = column(exchanges);
  listed("latest-table", "The latest exchanges, newest first",
    [{ head: "Time (UTC)" }, { head: "Client" }, { head: "Request" }, { head: "Model" }, { head: "Status" }, { head: "Pages", number: true }, { head: "USD", number: true }, { head: "Took", number: true }],
    exchanges, (exchange) => [
      time(exchange), [made("span", {}, named(exchange.client)), exchange.label ? small(exchange.label) : null,
        ...Object.entries(exchange.labels ?? {}).map(([name, value]) => small(`${name}: ${value}`))],
      [`${exchange.method} ${exchange.path}`, exchange.sandbox ? small("sandbox") : null],
      [exchange.model ?? "–", exchange.deployment ? small(exchange.deployment) : null, exchange.why ? small(exchange.error ? exchange.why : `after ${exchange.why}`, "bad") : null],
      status(exchange), pages(exchange), usd(exchange.cost_usd), took(exchange.total_s)], { few: 3 });
};

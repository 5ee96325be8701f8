/* The dashboard: requests JSON from the admin port, and shows it. Every text from outside enters by textContent; every sum is
   the ledger's: money is shown as the digits that came, never added up here. */
"use strict";
(() => {
  const EVERY_MS = 5000;      // between two requests for the latest exchanges
  const SUMS_MS = 60000;      // sums are requested when an exchange is new, and at least this often
  const TIMEOUT_MS = 30000;
  const MAX_ROWS = 20;
  const DAY_MS = 86400000;
  const FILTERS = ["client", "model", "route"];
  const SCOPES = { client: "client", route: "route", all: "everything" };
  const at = (id) => document.getElementById(id);

  // ── text ──

  /** Digits with commas between thousands; the decimals stay as they are. */
  const grouped = (text) => {
    const [whole, rest] = String(text).split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : "." + rest);
  };
  /** Dollars with all their decimals, and at least `decimals`. */
  const dollars = (text, decimals = 2) => {
    if (text === null) return "–";
    const [whole, rest = ""] = String(text).split(".");
    return "$" + grouped(whole) + "." + rest.padEnd(decimals, "0");
  };
  /** Dollars for the rows of one column: equally many decimals, so that the points stand below each other. */
  const column = (rows) => {
    const most = Math.max(2, ...rows.map(({ cost_usd: text }) => (text === null ? 0 : (text.split(".")[1] ?? "").length)));
    return (text) => dollars(text, most);
  };
  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const count = (number, one, many) => `${grouped(number)} ${number === 1 ? one : many}`;
  const named = (value) => (value === null || value === "" ? "(none)" : String(value));
  const took = (s) => (s < 1 ? `${Math.round(s * 1000)} ms` : `${s < 10 ? s.toFixed(1) : Math.round(s)} s`);
  const utc = (ms) => new Date(ms).toISOString();
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

  /** JSON whose costs become strings of their digits: a float could not hold every one of them. Inside a JSON string a quote
      has a backslash before it, so the pattern matches keys only. */
  const exact = (text) => JSON.parse(text.replace(/"(cost_usd|estimated_usd|spent|reserved|limit)": (-?[\d.]+)/g, '"$1": "$2"'));

  // ── elements ──

  /** An element with properties and children; strings become text. */
  const made = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children.filter((child) => child !== null));
    return element;
  };

  /** A table with roles of its own: narrow screens lay its rows out as blocks, which would take the native ones away. */
  const table = (caption, heads, rows) => {
    const role = (element, name) => (element.setAttribute("role", name), element);
    const cell = (content, place) => {
      const { head, number } = heads[place];
      const element = place ? role(made("td"), "cell") : role(made("th", { scope: "row" }), "rowheader");
      if (number) element.className = "number";
      element.dataset.head = head;
      element.append(...[content].flat().filter((part) => part !== null));
      return element;
    };
    const head = heads.map(({ head: text, number }) =>
      role(made("th", { scope: "col", className: number ? "number" : "" }, text), "columnheader"));
    const body = rows.map((row) => role(made("tr", {}, ...row.map(cell)), "row"));
    return role(made("table", {}, made("caption", { className: "hidden" }, caption),
      role(made("thead", {}, role(made("tr", {}, ...head), "row")), "rowgroup"),
      role(made("tbody", {}, ...body), "rowgroup")), "table");
  };

  /** A bar as long as a share, for the eye: the figures beside it say the same. */
  const bar = (share, kind = "") => {
    const inner = made("span", { className: kind });
    inner.style.width = `${Math.min(100, Math.max(0, share * 100)).toFixed(2)}%`;
    const outer = made("span", { className: "bar" }, inner);
    outer.setAttribute("aria-hidden", "true");
    return outer;
  };

  // ── requests to the admin port ──

  class Trouble extends Error {}

  const ask = async (path) => {
    let response, text;
    try {
      // Not relative to the page's address: that may hold the password, and such a URL is not fetched.
      response = await fetch(location.origin + location.pathname + path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      text = await response.text();
    } catch {
      throw new Trouble("The program does not answer. Is it still running? This page asks again every few seconds.");
    }
    let body;
    try {
      body = exact(text);
    } catch {
      throw new Trouble(`What answered (status ${response.status}) is not this program.`);
    }
    if (response.ok || path === "readyz") return body;
    if (response.status === 401) throw new Trouble("The admin key is needed. Reload this page, and give the key as the password.");
    throw new Trouble([body.why, body.hint].filter(Boolean).join(" ") || `The program answered with status ${response.status}.`);
  };

  // ── filters ──

  const form = at("filters");
  const LABEL = "label", NAMED = "label.";

  const period = () => {
    const now = new Date();
    const day = (year, month, date) => utc(Date.UTC(year, month, date)).slice(0, 10);
    const [year, month, date] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
    const chosen = form.period.value;
    if (chosen === "all") return {};
    if (chosen === "month") return { since: day(year, month, 1) };
    if (chosen === "last-month") return { since: day(year, month - 1, 1), until: day(year, month, 1) };
    return { since: day(year, month, date - Number(chosen) + 1) };
  };
  const chosen = () => {
    const set = FILTERS.filter((name) => form[name].value !== "*").map((name) => [name, form[name].value.slice(1)]);
    if (form.value.value !== "*") set.push([form.label.value, form.value.value.slice(1)]);
    return Object.fromEntries(set);
  };
  const query = (...parts) => new URLSearchParams(Object.assign({}, ...parts)).toString();

  /** Options hold their value behind a "=", so that a client may be called "*", and none is the empty one. */
  const offer = (name, groups, key = name) => {
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

  /** The plain label and the named ones; the one that was chosen stays, also where the ledger does not have it. */
  const offerLabels = (names) => {
    const kept = form.label.value;
    const wanted = [...new Set([LABEL, ...names.map((name) => NAMED + name), kept])];
    if (wanted.join("\n") === [...form.label.options].map((option) => option.value).join("\n")) return;
    form.label.replaceChildren(...wanted.map((value) => made("option", { value }, unprefixed(value))));
    form.label.value = kept;
  };
  const unprefixed = (label) => (label.startsWith(NAMED) ? label.slice(NAMED.length) : label);

  // ── charts ──

  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = {};

  const options = (series, value, moved) => ({
    width: 320, height: 200, legend: { show: false }, tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { range: (_, first, last) => [first - 43200, last + 43200] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
    axes: [
      { stroke: colour("--soft"), grid: { show: false }, ticks: { show: false }, size: 30, incrs: [1, 2, 7, 14, 30, 91, 182, 365].map((days) => days * 86400),
        values: (_, ticks) => ticks.map((s) => new Date(s * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" })) },
      { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 54, values: (_, ticks) => ticks.map(value) },
    ],
    series: [{}, ...series.map((name) => ({ fill: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 48], align: 0 }) }))],
    hooks: { setCursor: [(plot) => moved(plot.cursor.idx)] },
  });

  const drawn = (id, series, value, columns, moved) => {
    const place = at(id);
    if (!charts[id]) {
      const chart = { moved };
      chart.plot = new uPlot(options(series, value, (place) => chart.moved(place)), columns, place);
      new ResizeObserver(() => chart.plot.setSize({ width: Math.max(200, place.clientWidth), height: 200 })).observe(place);
      charts[id] = chart;
    }
    charts[id].moved = moved;
    charts[id].plot.setData(columns);
  };

  /** Every day of the period, also those without a request. */
  const days = (groups) => {
    const found = new Map(groups.map((group) => [group.day, group]));
    const { since = groups[0].day, until } = period();
    const last = until ? Date.parse(until) - DAY_MS : Date.now();
    const all = [];
    for (let ms = Date.parse(since); ms <= last; ms += DAY_MS) all.push(utc(ms).slice(0, 10));
    return all.map((day) => found.get(day) ?? { day, requests: 0, pages: 0, pages_annotated: 0, cost_usd: "0" });
  };

  const showDays = (groups) => {
    const all = days(groups);
    const x = all.map(({ day }) => Date.parse(day) / 1000);
    const pages = all.map((group) => group.pages);
    const both = all.map((group) => group.pages + group.pages_annotated);
    const saidAt = (id, text) => (place) => { at(id).textContent = place == null || !all[place] ? "" : `${all[place].day}: ${text(all[place])}`; };
    drawn("pages-chart", ["--second", "--first"], (value) => compact.format(value), [x, both, pages], saidAt("pages-at", (group) =>
      count(group.pages, "page", "pages") + (group.pages_annotated ? `, ${grouped(group.pages_annotated)} annotated` : "")));
    drawn("cost-chart", ["--first"], (value) => "$" + compact.format(value), [x, all.map((group) => Number(group.cost_usd))],
      saidAt("cost-at", (group) => dollars(group.cost_usd)));
    const heads = [{ head: "Day" }, { head: "Requests", number: true }, { head: "Pages", number: true }, { head: "Annotated", number: true }, { head: "USD", number: true }];
    const usd = column(groups);
    at("by-day").replaceChildren(table("Pages and cost by day", heads, groups.toReversed().map((group) =>
      [group.day, grouped(group.requests), grouped(group.pages), grouped(group.pages_annotated), usd(group.cost_usd)])));
  };

  // ── sums ──

  const showTotal = (total) => {
    const figures = [["Cost", dollars(total.cost_usd)], ["Pages", grouped(total.pages)], ["Annotated", grouped(total.pages_annotated)],
      ["Requests", grouped(total.requests)], ["Unmetered", grouped(total.unmetered)], ["Unpriced", grouped(total.unpriced)]];
    if (total.tokens_in || total.tokens_out) figures.push(["Tokens in", grouped(total.tokens_in)], ["Tokens out", grouped(total.tokens_out)]);
    if (total.tokens_cached) figures.push(["Tokens cached", grouped(total.tokens_cached)]);
    if (total.estimated_pages || total.estimated_usd) figures.push(["Estimated pages", grouped(total.estimated_pages)], ["Estimated cost", dollars(total.estimated_usd)]);
    at("total").replaceChildren(...figures.map(([head, value]) => {
      const wrong = (head === "Unmetered" || head === "Unpriced") && value !== "0";
      return made("div", { className: wrong ? "wrong" : "" }, made("dt", {}, head), made("dd", {}, value));
    }));
  };

  /** The estimate of what was paid but is not known, beside the exact figure; nothing where there is none. */
  const estimated = ({ estimated_pages: pages = null, estimated_usd: cost = null }) => {
    const parts = [pages ? count(pages, "page", "pages") : null, cost && Number(cost) > 0 ? dollars(cost) : null].filter(Boolean);
    return parts.length ? made("small", {}, `estimated: ${parts.join(", ")}`) : null;
  };

  // What has no price is never shown as free of charge.
  const priced = (group, usd) => {
    if (!group.unpriced) return usd(group.cost_usd);
    const without = made("small", {}, `${grouped(group.unpriced)} unpriced`);
    return Number(group.cost_usd) > 0 ? [usd(group.cost_usd), without] : [without];
  };

  const showGroups = (name, groups, key = name, shownName = name) => {
    const byCost = groups.some((group) => Number(group.cost_usd) > 0);
    const weight = (group) => (byCost ? Number(group.cost_usd) : group.pages + group.pages_annotated);
    const sorted = groups.toSorted((a, b) => weight(b) - weight(a) || b.requests - a.requests);
    const most = Math.max(...groups.map(weight)) || 1;
    const heads = [{ head: capital(shownName) }, { head: "Requests", number: true }, { head: "Pages", number: true }, { head: "USD", number: true }];
    const shown = sorted.slice(0, MAX_ROWS);
    const usd = column(shown);
    const rows = shown.map((group) => [
      [made("span", { className: "name" }, named(group[key])), bar(weight(group) / most)], grouped(group.requests),
      [grouped(group.pages), group.pages_annotated ? made("small", {}, `+ ${grouped(group.pages_annotated)} annotated`) : null, estimated(group)],
      priced(group, usd)]);
    const more = sorted.length - rows.length;
    at(`by-${name}`).replaceChildren(table(`Pages and cost by ${shownName}`, heads, rows), more > 0 ? made("p", { className: "quiet" }, `${more} more are in the CSV.`) : "");
  };

  const showNote = ({ sandbox, left_out: leftOut }) => {
    const note = at("note");
    note.textContent = sandbox ? "This is the sandbox's traffic: what it would have cost."
      : leftOut ? `Without ${count(leftOut, "request", "requests")} to the sandbox.` : "";
    note.hidden = !note.textContent;
  };

  const showSums = async (current) => {
    const span = period(), only = chosen(), label = form.label.value;
    const sums = (by, filters) => ask("usage?" + query(span, filters, { by }));
    const [{ labels }, byDay, byLabel, ...groups] =
      await Promise.all([ask("labels"), ...["day", label, ...FILTERS].map((by) => sums(by, only))]);
    const [labelled, ...offered] = Object.keys(only).length ? await Promise.all([label, ...FILTERS].map((by) => sums(by, {}))) : [byLabel, ...groups];
    if (!current()) return;
    // Where nothing has a plain label, the first of the named ones is what can be seen.
    const isUnlabelled = labelled.groups.every((group) => group[label] === null);
    if (isUnlabelled && label === LABEL && labels.length && !labelChosen) {
      form.label.append(made("option", { value: NAMED + labels[0] }, labels[0]));
      form.label.value = NAMED + labels[0];
      return showSums(current);
    }
    offerLabels(labels);
    at("label-choice").hidden = !labels.length && label === LABEL;
    at("value-choice").firstChild.data = at("label-choice").hidden ? "Label " : `${capital(unprefixed(label))} `;
    at("value-choice").hidden = isUnlabelled && form.value.value === "*";
    FILTERS.forEach((name, place) => offer(name, offered[place].groups));
    offer("value", labelled.groups, label);
    const some = byDay.total.requests > 0;
    at("figures").hidden = !some;
    at("empty").hidden = some;
    showNote(byDay);
    at("csv").href = "usage.csv?" + query(span, only, { by: `day,client,${label},route,model` });
    if (!some) return;
    showTotal(byDay.total);
    showDays(byDay.groups);
    FILTERS.forEach((name, place) => showGroups(name, groups[place].groups));
    at("labels").hidden = byLabel.groups.every((group) => group[label] === null);
    at("label-head").textContent = `By ${unprefixed(label)}`;
    if (!at("labels").hidden) showGroups("label", byLabel.groups, label, unprefixed(label));
  };

  // ── budgets and exchanges ──

  const showBudgets = ({ budgets }) => {
    at("budgets").hidden = !budgets.length;
    const shown = (budget, text) => (budget.unit === "usd" ? dollars(text) : grouped(text));
    const isClosed = (budget) => (budget.unpriced ?? null) !== null;  // for what has no price, however little is spent
    const sorted = budgets.toSorted((a, b) => isClosed(b) - isClosed(a) || b.used_percent - a.used_percent).slice(0, 5 * MAX_ROWS);
    at("budget-table").replaceChildren(table("Budgets, closed ones and the most used first",
      [{ head: "Whose" }, { head: "Used" }, { head: "Spent", number: true }, { head: "Limit", number: true }, { head: "Resets (UTC)", number: true }],
      sorted.map((budget) => {
        const share = budget.used_percent / 100;
        const unit = budget.unit === "usd" ? "USD" : budget.unit;
        return [
          [made("span", { className: "name" }, [SCOPES[budget.scope] ?? budget.scope, budget.name].filter(Boolean).join(" ")), made("small", {}, `${unit} per ${budget.per}`)],
          [`${budget.used_percent} %${share >= 1 ? ", used up" : ""}${isClosed(budget) ? ", closed" : ""}`, bar(share, share >= 1 ? "over" : share >= 0.9 ? "near" : ""),
            isClosed(budget) ? made("small", { className: "lack" }, `no price: ${budget.unpriced}`) : null],
          shown(budget, budget.spent), shown(budget, budget.limit), budget.resets.slice(0, 16).replace("T", " ")];
      })));
  };

  /** Who takes which share of a model's calls since the start, and who is cooling and why. */
  const showPools = ({ deployments }) => {
    at("pools").hidden = !deployments.length;
    const answered = ({ tries }) => tries.answered ?? 0;
    const failures = ({ tries }) => Object.entries(tries).filter(([outcome]) => outcome !== "answered");
    const sums = {};
    for (const one of deployments) sums[one.model_group] = (sums[one.model_group] ?? 0) + answered(one);
    const state = ({ cooling, until }) => (cooling === null ? [made("span", { className: "good" }, "up")]
      : [made("span", { className: "bad" }, "cooling"), made("small", { className: "code" }, cooling), made("small", {}, `until ${until.slice(11, 19)}`)]);
    at("pool-table").replaceChildren(table("Deployments in the order of the file, with their shares since the start",
      [{ head: "Deployment" }, { head: "Share" }, { head: "State (UTC)" }, { head: "Answered", number: true }, { head: "Failed tries", number: true }, { head: "Under way", number: true }],
      deployments.map((one) => {
        const share = answered(one) / (sums[one.model_group] || 1);
        return [
          [made("span", { className: "name" }, one.deployment), made("small", {}, `${one.model_group} at ${one.target}`)],
          [`${(share * 100).toFixed(1)} %`, bar(share)], state(one), grouped(answered(one)),
          [grouped(failures(one).reduce((sum, [, number]) => sum + number, 0)), ...failures(one).map(([why, number]) => made("small", {}, `${why}: ${grouped(number)}`))],
          grouped(one.in_flight)];
      })));
  };

  const showExchanges = (exchanges) => {
    at("latest").hidden = !exchanges.length;
    const today = utc(Date.now()).slice(0, 10);
    const time = ({ time: when }) => made("time", { dateTime: when }, when.startsWith(today) ? when.slice(11, 19) : when.slice(0, 16).replace("T", " "));
    const pages = (exchange) => {
      const some = exchange.pages !== null || exchange.pages_annotated !== null;
      const tokens = exchange.tokens_in !== null || exchange.tokens_out !== null;
      return [some ? grouped(exchange.pages ?? 0) : "–",
        exchange.pages_annotated ? made("small", {}, `+ ${grouped(exchange.pages_annotated)} annotated`) : null,
        tokens ? made("small", {}, `${grouped(exchange.tokens_in ?? 0)} + ${grouped(exchange.tokens_out ?? 0)} tokens`) : null,
        exchange.unmetered ? made("small", { className: "bad" }, exchange.unmetered) : null, estimated(exchange)];
    };
    const status = ({ status: code, outcome, error, open, requests }) => {
      const bad = code === null || code >= 400 || outcome !== "completed";
      const why = open ? "not ended" : error ?? (outcome === "completed" ? null : outcome);
      return [made("span", { className: bad ? "bad" : "good" }, code === null ? "none" : String(code)), why ? made("small", { className: "code" }, why) : null, requests > 1 ? made("small", {}, `${grouped(requests)} requests`) : null];
    };
    const usd = column(exchanges);
    at("latest-table").replaceChildren(table("The latest exchanges, newest first",
      [{ head: "Time (UTC)" }, { head: "Client" }, { head: "Request" }, { head: "Model" }, { head: "Status" }, { head: "Pages", number: true }, { head: "USD", number: true }, { head: "Took", number: true }],
      exchanges.map((exchange) => [
        time(exchange), [made("span", {}, named(exchange.client)), exchange.label ? made("small", {}, exchange.label) : null,
          ...Object.entries(exchange.labels ?? {}).map(([name, value]) => made("small", {}, `${name}: ${value}`))],
        [`${exchange.method} ${exchange.path}`, exchange.sandbox ? made("small", {}, "sandbox") : null],
        [exchange.model ?? "–", exchange.deployment ? made("small", {}, exchange.deployment) : null, exchange.why ? made("small", { className: "bad" }, `after ${exchange.why}`) : null],
        status(exchange), pages(exchange), usd(exchange.cost_usd), took(exchange.total_s)])));
  };

  const showHealth = ({ status, degraded = {} }) => {
    const pill = at("health");
    const why = Object.entries(degraded).map(([part, reason]) => `${part}: ${reason}`).join("\n");
    pill.className = "pill " + (status === "ok" ? "well" : "ill");
    const text = why ? `${status}: ${why}` : status;
    if (pill.textContent !== text) pill.textContent = text;
  };

  const showTrouble = (text) => {
    const place = at("trouble");
    if (place.textContent !== text) place.textContent = text;
    place.hidden = !text;
  };

  // ── the loop ──

  let round = 0, timer = 0, seen = null, summedAt = 0, newest = "", labelChosen = false;

  /** One refresh. A later one cancels an earlier one that still waits: its responses are for filters no longer in force. */
  const look = async (all = false) => {
    clearTimeout(timer);
    const mine = ++round;
    const current = () => mine === round;
    try {
      const latestRequest = ask("exchanges?" + query(chosen(), { limit: "30" }));
      latestRequest.catch(() => {});  // awaited below, after what needs no ledger is shown
      const [health, budgets, pools] = await Promise.all([ask("readyz"), ask("budgets"), ask("deployments")]);
      if (!current()) return;
      showHealth(health);
      showBudgets(budgets);
      showPools(pools);
      const latest = await latestRequest;
      if (!current()) return;
      const found = JSON.stringify(latest.exchanges);
      if (all || found !== seen || Date.now() - summedAt > SUMS_MS) {
        await showSums(current);
        if (!current()) return;
        showExchanges(latest.exchanges);
        announce(latest.exchanges, all);
        seen = found;
        summedAt = Date.now();
      }
      at("updated").textContent = `Live; asked at ${utc(Date.now()).slice(11, 19)} UTC`;
      showTrouble("");
    } catch (error) {
      if (!current()) return;
      if (!(error instanceof Trouble)) console.error(error);
      seen = null;
      showTrouble(error instanceof Trouble ? error.message : "This page has a defect; its console says which. Please report it.");
    }
    document.body.dataset.round = String(round);
    if (!document.hidden) timer = setTimeout(look, EVERY_MS);
  };

  /** Announce what is new to screen readers, once; ids sort by time. */
  const announce = (exchanges, all) => {
    const fresh = exchanges.filter((exchange) => exchange.id > newest).length;
    newest = exchanges.reduce((last, { id }) => (id > last ? id : last), newest);
    at("news").textContent = all ? "The figures are those of the chosen filters." : fresh ? count(fresh, "new exchange", "new exchanges") : "";
  };

  const keep = () => {
    const set = { ...(form.period.value === "30" ? {} : { period: form.period.value }), ...(labelChosen ? { by: form.label.value } : {}), ...chosen() };
    history.replaceState(null, "", Object.keys(set).length ? "?" + query(set) : location.pathname);
  };
  const restore = () => {
    const given = new URLSearchParams(location.search);
    if ([...form.period.options].some((option) => option.value === given.get("period"))) form.period.value = given.get("period");
    for (const name of FILTERS.filter((name) => given.has(name))) {
      form[name].append(made("option", { value: "=" + given.get(name) }, named(given.get(name))));
      form[name].value = "=" + given.get(name);
    }
    const filtered = [...given.keys()].find((name) => name === LABEL || name.startsWith(NAMED));
    const label = filtered ?? given.get("by") ?? "";
    if (label !== LABEL && !label.startsWith(NAMED)) return;
    labelChosen = true;
    form.label.append(made("option", { value: label }, unprefixed(label)));
    form.label.value = label;
    if (filtered === undefined) return;
    form.value.append(made("option", { value: "=" + given.get(label) }, named(given.get(label))));
    form.value.value = "=" + given.get(label);
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target === form.label) {
      form.value.value = "*";  // its values were another label's
      labelChosen = true;
    }
    keep();
    look(true);
  });
  at("clear").addEventListener("click", () => {
    form.period.value = "30";
    for (const name of [...FILTERS, "value"]) form[name].value = "*";
    form.label.value = LABEL;
    labelChosen = false;
    keep();
    look(true);
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(charts).forEach(({ plot }) => plot.redraw(true, true)));
  restore();
  look(true);
})();

/* What needs a person, the worst first; each item links to its list. */
import { at, made, replace } from "./elements.js";
import { link } from "./choices.js";
import { clock, count, grouped, named } from "./text.js";

const few = matchMedia("(max-width: 520px)");
const SCOPES = { client: "client", route: "route", all: "everything" };

/** A budget by its scope: `client invoices`. */
export const whose = (budget) => [SCOPES[budget.scope] ?? budget.scope, budget.name].filter(Boolean).join(" ");
/** Closed for what has no price, however little is spent. */
export const isClosed = (budget) => (budget.unpriced ?? null) !== null;
export const isUsedUp = (budget) => budget.used_up;
export const isNear = (budget) => !isUsedUp(budget) && budget.warn_at !== null && budget.used_percent >= budget.warn_at * 100;

const some = (items, text) => {
  const names = [...new Set(items.map(text))];
  const most = few.matches ? 1 : 3;
  const more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
};
const are = (items, one, many) => `${count(items.length, one, `${one}s`)} ${items.length === 1 ? many[0] : many[1]}: `;

/** Yields [text, address, whether it stops or loses something]. */
function* found({ health, budgets = [], deployments = [], total, recent, real }) {
  for (const [part, why] of Object.entries(health?.degraded ?? {})) yield [`${part}: ${why}`, "readyz", true];
  for (const { target, deployment, status, latest } of recent?.rejected ?? []) {
    const only = deployment ? { deployment } : { target };
    yield [`${named(deployment ?? target)} refuses its key: ${status} at ${clock(latest)}`, link("#latest", { ...only, status, ...real }), true];
  }
  const closed = budgets.filter(isClosed), usedUp = budgets.filter((each) => isUsedUp(each) && !isClosed(each)), near = budgets.filter((each) => isNear(each) && !isClosed(each));
  if (closed.length) yield [are(closed, "budget", ["is closed, for something has no price", "are closed, for something has no price"]) + some(closed, whose), link("#budgets"), true];
  if (usedUp.length) yield [are(usedUp, "budget", ["is used up", "are used up"]) + some(usedUp, whose), link("#budgets"), true];
  if (near.length) yield [are(near, "budget", ["is nearly used up", "are nearly used up"]) + some(near, (each) => `${whose(each)} ${grouped(each.used_percent)} %`), link("#budgets"), false];
  const cooling = deployments.filter((each) => each.cooling !== null);
  if (cooling.length) yield [are(cooling, "deployment", ["takes no calls for now", "take no calls for now"]) + some(cooling, (each) => `${each.deployment} (${each.cooling})`), link("#pools"), false];
  if (total?.unmetered) yield [`${count(total.unmetered, "request")} unmetered: the use is not known`, link("#latest", { unmetered: "any", ...real }), false];
  if (total?.unpriced) yield [`${count(total.unpriced, "request")} unpriced: in no sum of costs`, link("#latest", { unpriced: "true", ...real }), false];
}

/** Show it; `followed` is called with the address of a link within this page. */
export const showAttention = (facts, followed) => {
  const items = [...found(facts)].map(([text, href, isBad], place) => {
    const anchor = made("a", { href }, text);
    anchor.dataset.key = `attention ${place}`;
    if (href !== "readyz") anchor.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;  // another tab or window is wanted
      event.preventDefault();
      followed(href);
    });
    return made("li", { className: isBad ? "worst" : "" }, anchor);
  });
  at("attention").hidden = !items.length;
  replace(at("attention-list"), ...items);
};

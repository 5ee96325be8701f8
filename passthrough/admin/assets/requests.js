/* Requests to the admin port. */
const TIMEOUT_MS = 30000;

/** What a person is told of a request that failed. `isGone`: nothing responds any more. */
export class Trouble extends Error {
  constructor(message, isGone = false) {
    super(message);
    this.isGone = isGone;
  }
}

/** JSON whose costs become strings of their digits: a float could not hold every one of them. Inside a JSON string a quote
    has a backslash before it, so the pattern matches keys only. */
const exact = (text) => JSON.parse(text.replace(/"(cost_usd|estimated_usd|spent|reserved|limit)": (-?[\d.]+)/g, '"$1": "$2"'));

/** The JSON of a path. Throws Trouble. */
export const ask = async (path) => {
  let response, text;
  try {
    // Not relative to the page's address: that may hold the password, and such a URL is not fetched.
    response = await fetch(location.origin + location.pathname + path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    text = await response.text();
  } catch {
    throw new Trouble("The program does not answer. Is it still running? This page asks again every few seconds.", true);
  }
  let body;
  try {
    body = exact(text);
  } catch {
    throw new Trouble(`What answered (status ${response.status}) is not this program.`, true);
  }
  if (response.ok || path === "readyz") return body;
  if (response.status === 401) throw new Trouble("The admin key is needed. Reload this page, and give the key as the password.");
  throw new Trouble([body.why, body.hint].filter(Boolean).join(" ") || `The program answered with status ${response.status}.`);
};

export const query = (...parts) => new URLSearchParams(Object.assign({}, ...parts)).toString();

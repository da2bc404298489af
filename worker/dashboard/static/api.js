// Talks to the JSON API of this Flower. An error is thrown as a sentence.

const meta = (name) => document.querySelector(`meta[name="reconciler-${name}"]`)?.content || "";
const given = meta("prefix");
export const prefix = given ? "/" + given.replace(/^\/+|\/+$/g, "") : "";
export const readOnly = meta("read-only") === "yes";
export const page = (path) => prefix + path;
// Of several runs of one name the address says which one is meant; without it, the last one.
export const incarnation = new URLSearchParams(location.search).get("incarnation") || "";
const suffix = incarnation ? `?${new URLSearchParams({ incarnation })}` : "";
export const within = (path) => prefix + path + suffix; // a page of the same run
// In full: the address of the page may hold a user and a password, and then a browser asks for nothing relative to it.
const api = (path) => `${location.origin}${prefix}/reconciler/api${path}`;
export const download = (action, which) => api(`/actions/${action}/${which}`) + suffix;

async function answered(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("Flower does not answer: it may have been stopped, or the network is away.");
  }
  const text = await response.text();
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error(`Flower gave no answer that can be read (${response.status}).`);
  }
  if (!response.ok) throw new Error(document.error?.message || `The request was refused (${response.status}).`);
  return document;
}

export function get(path, query) {
  const wanted = Object.entries(query || {}).filter(([, value]) => value !== "" && value !== undefined);
  const search = wanted.length ? "?" + new URLSearchParams(wanted) : "";
  return answered(fetch(api(path) + search, { headers: { Accept: "application/json" } }));
}

export function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-XSRFToken": meta("token") };
  return answered(fetch(api(path) + suffix, { method: "POST", headers, body }));
}

export const press = (action, button, text) => post(`/actions/${action}/${button}`, text);

// Calls back with each piece of what changes in a run; the browser connects again by itself, where it stood.
export function live(run, cursor, changed, state) {
  const source = new EventSource(`${api(`/runs/${run}/live`)}?${new URLSearchParams({ cursor, brief: "yes" })}`);
  source.addEventListener("changes", (event) => changed(JSON.parse(event.data)));
  source.addEventListener("open", () => state(true));
  source.addEventListener("error", () => state(false));
  addEventListener("pagehide", () => source.close());
  return source;
}

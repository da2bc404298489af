// Talks to the JSON API of this Flower. An error is thrown as a sentence.

const meta = (name) => document.querySelector(`meta[name="reconciler-${name}"]`)?.content || "";
const given = meta("prefix");
export const prefix = given ? "/" + given.replace(/^\/+|\/+$/g, "") : "";
export const readOnly = meta("read-only") === "yes";
export const sees = meta("sees"); // the projects of the login; * = all, which some pages are for
export const seesAll = sees === "*";
export const page = (path) => prefix + path;
// Of several runs of one name the address says which one is meant; without it, the last one. Once that has been read, the
// page stays with it: what is pressed never meets a run of its name that began later.
const named = new URLSearchParams(location.search).get("incarnation") || "";
export let incarnation = named;
export const stayWith = (life) => {
  incarnation = life;
};
const suffix = (life, more = {}) => (life || more.attempt ? `?${new URLSearchParams({ ...more, incarnation: life })}` : "");
export const within = (path) => prefix + path + suffix(named); // a page of the same run
// In full: the address of the page may hold a user and a password, and then a browser asks for nothing relative to it.
const api = (path) => `${location.origin}${prefix}/reconciler/api${path}`;
export const download = (action, which, more) => api(`/actions/${action}/${which}`) + suffix(incarnation, more);

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
  return answered(fetch(api(path), { method: "POST", headers, body }));
}

export const press = (action, button, text) => post(`/actions/${action}/${button}${suffix(incarnation)}`, text);

const FIRST_WAIT = 2000;
const LONGEST_WAIT = 15000;

// Calls back with each piece of what changes in a run, from where it stood. A browser gives a refused stream up for good
// (one answer of 502 or 503 is enough), so it is opened again here, later each time; `state` hears whether it is open.
export function live(run, cursor, changed, state) {
  let source;
  let timer = 0;
  let wait = FIRST_WAIT;
  let stopped = false;
  function open() {
    if (stopped) return;
    source = new EventSource(`${api(`/runs/${run}/live`)}?${new URLSearchParams({ cursor, brief: "yes" })}`);
    source.addEventListener("changes", (event) => {
      cursor = event.lastEventId || cursor;
      changed(JSON.parse(event.data));
    });
    source.addEventListener("open", () => {
      wait = FIRST_WAIT;
      state(true);
    });
    source.addEventListener("error", () => {
      source.close();
      if (stopped) return;
      clearTimeout(timer);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
      state(false);
    });
  }
  function close() {
    stopped = true;
    clearTimeout(timer);
    source.close();
  }
  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && location.reload()); // it was kept, without its stream
  return { close };
}

// The list of runs: searched in words, newest first, looked at again while it is open.

import { get, page, post, readOnly } from "./api.js";
import { openForm } from "./buttons.js";
import { fill, h } from "./dom.js";
import { PHASES, badge, count, moment, shares, span, words } from "./format.js";

const FIELDS = ["project", "domain", "task", "phase", "code", "label", "since"];
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
const EVERY = 3000;
const ALL = [
  ["abort", "Abort all", "Stops every run that fits the search and has not ended; the reason stays in its history.", [{ name: "reason", label: "Reason", type: "str" }], true],
  ["rerun", "Rerun all", "Makes a new run of every ended one that fits the search.", [], false],
  ["recover", "Recover all", "Makes a new run of every one that did not succeed, in which only the rest runs.", [], false],
];
const CHIPS = ["running", "queued", "paused", "failed", "succeeded", "aborted"];

// `phase:failed task:photos since:2h cats` → fields; what has no field is part of the name.
export function readQuery(text) {
  const query = {};
  const names = [];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const [field, ...rest] = word.split(":");
    if (FIELDS.includes(field) && rest.length) query[field] = rest.join(":");
    else names.push(word);
  }
  if (names.length) query.name = names.join(" ");
  const time = /^(\d+)([smhd])$/.exec(query.since || "");
  if (time) query.since = Date.now() - time[1] * UNITS[time[2]];
  else delete query.since;
  return query;
}

function line(run, now) {
  const [project, domain, name] = run.run.split("/");
  const root = run.root;
  const last = root && root.ended ? root.ended : now;
  const phase = root ? root.phase : "queued";
  return h(
    "li",
    {},
    h(
      "a",
      { class: "rc-run", href: page(`/runs/${run.run}`) + (run.archived ? `?${new URLSearchParams({ incarnation: run.incarnation })}` : "") },
      h("span", { class: "rc-run-phase" }, badge(phase), run.archived ? h("span", { class: "rc-tag", title: "read from the archive in S3" }, "archived") : ""),
      h("span", { class: "rc-run-name" }, h("strong", {}, name), h("small", {}, `${project} / ${domain}`)),
      h("span", { class: "rc-run-task" }, root ? root.task : "", root && root.error ? h("small", { class: "rc-red" }, root.error) : ""),
      h(
        "span",
        { class: "rc-run-share" },
        shares(run.phases, run.actions),
        h("small", {}, run.actions === 1 ? "1 action" : `${count(run.ended)} of ${count(run.actions)} ended`),
      ),
      h("span", { class: "rc-run-took" }, root && (root.began || root.ended) ? span(last - run.created) : "–"),
      h("span", { class: "rc-run-when" }, moment(run.created, now)),
    ),
  );
}

// One thing done to all runs of a search: first it is counted, and the count has to be typed.
async function askAll([verb, label, explains, fields, danger], query, done) {
  const { count: met, most, bulk } = await get(`/matching/${verb}`, query);
  if (!met) throw new Error("No run of this search can be met by that.");
  if (met > most) throw new Error(`More than ${count(most)} runs fit: narrow the search, as with since:1h.`);
  const sure = { name: "count", label: `Type ${met} to confirm`, type: "int" };
  const strings = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
  openForm({ name: verb, label, explains, fields: [...fields, sure], danger }, met === 1 ? "1 run" : `${count(met)} runs`, done, (text) => {
    const { count: typed, ...values } = JSON.parse(text);
    if (typed !== met) throw new Error(`Type ${met} to confirm.`);
    return post(`/matching/${verb}`, JSON.stringify({ query: strings, count: met, bulk, values }));
  });
}

export async function showRuns(body) {
  document.title = "Runs";
  const search = h("input", {
    type: "search",
    class: "rc-search",
    id: "rc-search",
    placeholder: "Search by name, or phase:failed task:… project:… label:… code:… since:2h",
    "aria-label": "Search runs",
    value: new URLSearchParams(location.search).get("q") || "",
  });
  const chips = h("div", { class: "rc-chips", role: "group", "aria-label": "Phase of the run" });
  const list = h("ul", { class: "rc-list", "aria-label": "Runs, newest first" });
  const foot = h("p", { class: "rc-foot", role: "status" });
  const more = h("button", { class: "rc-button", hidden: true, onclick: () => load(true) }, "Older runs");
  const told = h("p", { class: "rc-foot", role: "status" });
  const trouble = h("p", { class: "rc-foot rc-red", role: "status" });
  const all = h("div", { class: "rc-all", hidden: true, role: "group", "aria-label": "All runs of this search" });
  function tellAll(answer) {
    fill(told, `${count(answer.done)} runs were met.`, answer.refused.length ? h("span", { class: "rc-red" }, ` ${count(answer.refused.length)} refused, the first one: ${answer.refused[0].message}`) : "");
    load(false).catch(fail);
  }
  if (!readOnly)
    fill(
      all,
      ALL.map((one) =>
        h("button", { type: "button", class: `rc-button rc-quiet${one[4] ? " rc-danger" : ""}`, "data-all": one[0], onclick: () => askAll(one, readQuery(search.value), tellAll).catch((error) => fill(told, h("span", { class: "rc-red" }, error.message))) }, one[1]),
      ),
    );
  fill(
    body,
    h("header", { class: "rc-head" }, h("h1", {}, "Runs"), h("form", { role: "search", onsubmit: (e) => (e.preventDefault(), changed()) }, search)),
    h("div", { class: "rc-bar-of-search" }, chips, all),
    told,
    list,
    h("div", { class: "rc-center" }, trouble, foot, more),
  );
  let next = "";
  let paged = false;
  let asked = 0;

  const phaseOf = () => readQuery(search.value).phase || "";
  function setPhase(phase) {
    const rest = search.value.replace(/\s*\bphase:\S*/g, "").trim();
    search.value = phase ? `${rest} phase:${phase}`.trim() : rest;
    changed();
  }
  function showChips() {
    const now = phaseOf();
    const all = PHASES.includes(now) && !CHIPS.includes(now) ? [...CHIPS, now] : CHIPS;
    fill(
      chips,
      ["", ...all].map((phase) =>
        h("button", { type: "button", class: `rc-chip p-${phase}`, "aria-pressed": String(phase === now), onclick: () => setPhase(phase) }, phase ? words(phase) : "all"),
      ),
    );
  }
  function changed() {
    fill(told);
    const text = search.value.trim();
    history.replaceState(null, "", text ? `?${new URLSearchParams({ q: text })}` : location.pathname);
    showChips();
    load(false).catch(fail);
  }
  function fail(error) {
    fill(foot, h("span", { class: "rc-red" }, error.message));
  }
  async function load(older) {
    const turn = ++asked;
    const found = await get("/runs", { ...readQuery(search.value), after: older ? next : "" });
    if (turn !== asked) return; // a later question was answered, or is being asked
    paged = older || (paged && turn > 1 && older);
    next = found.next;
    const focused = document.activeElement?.getAttribute?.("href");
    const lines = found.runs.map((run) => line(run, found.now));
    if (older) list.append(...lines);
    else list.replaceChildren(...lines);
    if (focused) [...list.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
    more.hidden = !next;
    const none = list.children.length === 0;
    all.hidden = readOnly || !search.value.trim() || (none && !next);
    foot.classList.toggle("rc-empty", none);
    fill(trouble, found.problem || "");
    const tried = found.searched > found.runs.length ? ` ${count(found.searched)} runs were searched.` : "";
    fill(foot, none ? (next ? `Nothing here yet.${tried}` : search.value.trim() ? "No run fits this search." : "No runs are stored yet: submit one, and it appears here.") : next ? "" : `These are all.${tried}`);
  }
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(changed, 250);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step) return;
    const links = [...list.querySelectorAll("a")];
    const to = links[links.indexOf(document.activeElement) + step];
    if (to) {
      event.preventDefault();
      to.focus();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  showChips();
  await load(false);
  setInterval(() => {
    if (!document.hidden && !paged) load(false).catch(fail);
  }, EVERY);
}

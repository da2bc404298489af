// The list of runs: searched in words, newest first, looked at again while it is open.

import { get, page, post, readOnly, sees, seesAll } from "./api.js";
import { openForm } from "./buttons.js";
import { fill, h } from "./dom.js";
import { PHASES, badge, brief, count, counted, ended, moment, sentence, shares, span, words } from "./format.js";

const FIELDS = ["project", "domain", "task", "phase", "code", "label", "since", "until"];
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
const EVERY = 3000;
const GOOD = ["succeeded", "recovered"];
const ALL = [
  { verb: "abort", label: "Abort all", explains: "Stops every run that fits the search and has not ended; the reason stays in its history.", fields: [{ name: "reason", label: "Reason", type: "str" }], danger: true, fits: (phase) => !ended(phase), did: (done) => `${counted(done, "run is", "runs are")} being aborted.` },
  { verb: "rerun", label: "Rerun all", explains: "Makes a new run of every ended one that fits the search.", fields: [], danger: false, fits: ended, did: (done) => `${counted(done, "new run was", "new runs were")} made.` },
  { verb: "recover", label: "Recover all", explains: "Makes a new run of every one that did not succeed, in which only the rest runs.", fields: [], danger: false, fits: (phase) => ended(phase) && !GOOD.includes(phase), did: (done) => `${counted(done, "new run was", "new runs were")} made.` },
];
const CHIPS = ["running", "queued", "paused", "failed", "succeeded", "aborted"];

// `phase:failed task:photos since:2h cats` → fields; what has no field is part of the name, which holds no colon.
export function readQuery(text) {
  const query = {};
  const names = [];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const [field, ...rest] = word.split(":");
    const known = field.toLowerCase();
    if (!rest.length) names.push(word);
    else if (known === "name") names.push(rest.join(":"));
    else if (known in query) throw new Error(`The search names ${known}: twice, and a run has one: leave one out.`);
    else if (FIELDS.includes(known)) query[known] = rest.join(":");
    else throw new Error(`A search knows no “${field}:”. It knows name, ${FIELDS.join(", ")}; what has no colon is part of the name, and a label is searched as label:team=red.`);
  }
  if (names.length) query.name = names.join(" ");
  if (query.phase) query.phase = query.phase.toLowerCase();
  for (const field of ["since", "until"]) {
    if (!query[field]) continue;
    const time = /^(\d+)([smhd])$/i.exec(query[field]);
    if (!time) throw new Error(`The time ${field}:${query[field]} cannot be read: write a number and a unit, as ${field}:30m, ${field}:2h or ${field}:7d.`);
    query[field] = Math.max(0, Date.now() - time[1] * UNITS[time[2].toLowerCase()]);
  }
  return query;
}

// What the address searches for: `q` as it is typed, or fields by name. What it does not know is told.
function readAddress() {
  const words = [];
  const strange = [];
  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = name.toLowerCase();
    if (field === "q" || field === "name") words.push(value.trim());
    else if (FIELDS.includes(field)) words.push(...(value.trim() ? [`${field}:${value.trim()}`] : []));
    else strange.push(name);
  }
  return [words.filter(Boolean).join(" "), strange.length ? `The address names ${strange.join(", ")}, which no search knows; it knows q, name, ${FIELDS.join(", ")}.` : ""];
}

// Why there is nothing, as far as this login can know.
function nothing(searched) {
  if (!sees) return "Your login sees no project, so no run is shown: RECONCILER_FLOWER_PROJECTS of this Flower says what each login sees.";
  if (searched) return "No run fits this search.";
  if (!seesAll) return `No run is stored yet in the projects your login sees (${sees}): submit one there, and it appears here.`;
  return "No runs are stored yet: submit one, and it appears here.";
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
      h("span", { class: "rc-run-task" }, root ? root.task : "", root && root.error ? h("small", { class: "rc-red", title: root.error }, brief(root.error, run.run)) : ""),
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

function inPhases(runs, phases) {
  const some = PHASES.filter((phase) => phases[phase]);
  return `${counted(runs, "run")}${some.length ? `: ${some.map((phase) => `${count(phases[phase])} ${words(phase)}`).join(", ")}` : ""}`;
}

// One thing done to all runs of a search: first it is counted, and the count has to be typed.
async function askAll({ verb, label, explains, fields, danger, did }, query, done) {
  const { count: met, most, bulk } = await get(`/matching/${verb}`, query);
  if (!met) throw new Error(`No run of this search fits “${label}”.`);
  if (met > most) throw new Error(`More than ${count(most)} runs fit: narrow the search, as with since:1h.`);
  const sure = { name: "count", label: `Type ${met} to confirm`, type: "int" };
  const strings = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
  openForm({ name: verb, label, explains, fields: [...fields, sure], danger }, counted(met, "run"), (answer) => done(answer, did), (text) => {
    const { count: typed, ...values } = JSON.parse(text);
    if (typed !== met) throw new Error(`Type ${met} to confirm.`);
    return post(`/matching/${verb}`, JSON.stringify({ query: strings, count: met, bulk, values }));
  });
}

export async function showRuns(body) {
  document.title = "Runs";
  const [asks, strange] = readAddress();
  const search = h("input", {
    type: "search",
    class: "rc-search",
    id: "rc-search",
    "aria-label": "Search runs",
    value: asks,
  });
  const narrow = matchMedia("(max-width: 760px)");
  const hint = () => (search.placeholder = narrow.matches ? "Name, phase:failed, since:2h …" : "Search by name, or phase:failed task:… project:… label:… code:… since:2h");
  narrow.addEventListener("change", hint);
  hint();
  const chips = h("div", { class: "rc-chips", role: "group", "aria-label": "Phase of the run" });
  const heads = h("div", { class: "rc-run-heads", "aria-hidden": "true" }, ["Phase", "Run", "Task", "Actions", "Took", "Created"].map((one) => h("span", {}, one)));
  const list = h("ul", { class: "rc-list", "aria-label": "Runs, newest first" });
  const foot = h("p", { class: "rc-foot", role: "status" });
  const more = h("button", { class: "rc-button", hidden: true, onclick: () => load(true) }, "Older runs");
  const counting = h("button", { type: "button", class: "rc-button", hidden: true, "data-count": true, onclick: () => countAll() }, "Count all");
  const total = h("p", { class: "rc-foot", role: "status" });
  const told = h("p", { class: "rc-foot", role: "status" });
  const trouble = h("p", { class: "rc-foot rc-red", role: "status" });
  const all = h("div", { class: "rc-all", hidden: true, role: "group", "aria-label": "All runs of this search" });
  function tellAll(answer, did) {
    fill(told, did(answer.done), answer.refused.length ? h("span", { class: "rc-red" }, ` ${count(answer.refused.length)} refused, the first one: ${answer.refused[0].message}`) : "");
    load(false).catch(fail);
  }
  const bulk = ALL.map((one) => [one, h("button", { type: "button", class: `rc-button rc-quiet${one.danger ? " rc-danger" : ""}`, "data-all": one.verb, onclick: (event) => ask(one, event.currentTarget) }, one.label)]);
  if (!readOnly) fill(all, bulk.map(([, button]) => button));
  async function ask(one, button) {
    if (button.ariaBusy === "true") return; // it may take a while to count; disabled, it would lose the keyboard
    button.ariaBusy = "true";
    try {
      await askAll(one, readQuery(search.value), tellAll);
    } catch (error) {
      fill(told, h("span", { class: "rc-red" }, sentence(error.message)));
    }
    button.ariaBusy = "false";
  }
  // Only what fits some run of the search; what lies on later pages is not known.
  function showBulk(more) {
    const wanted = phaseOf();
    const seen = wanted ? [wanted] : [...list.children].map((one) => one.phase);
    for (const [{ fits }, button] of bulk) button.hidden = !seen.some(fits) && (Boolean(wanted) || !more);
    all.hidden = readOnly || !search.value.trim() || !list.children.length || bulk.every(([, button]) => button.hidden);
  }
  fill(
    body,
    h("header", { class: "rc-head" }, h("h1", {}, "Runs"), h("form", { role: "search", onsubmit: (event) => (event.preventDefault(), clearTimeout(timer), changed(), (typing = false)) }, search)),
    h("div", { class: "rc-bar-of-search" }, chips, all),
    told,
    heads,
    list,
    h("div", { class: "rc-center" }, trouble, foot, total, h("div", { class: "rc-actions rc-middle" }, more, counting)),
  );
  let next = "";
  let paged = false;
  let asked = 0;

  const phaseOf = () => (/(?:^|\s)phase:(\S+)/i.exec(search.value)?.[1] || "").toLowerCase();
  function setPhase(phase) {
    const rest = search.value.replace(/(?:^|\s+)phase:\S*/gi, "").trim();
    search.value = phase ? `${rest} phase:${phase}`.trim() : rest;
    typing = false;
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
  let typing = false; // what is typed in one go is one step back
  function changed() {
    const text = search.value.trim();
    const address = text ? `?${new URLSearchParams({ q: text })}` : location.pathname;
    if (address !== (location.search || location.pathname)) history[typing ? "replaceState" : "pushState"](null, "", address);
    show();
  }
  function show() {
    fill(told);
    fill(total);
    showChips();
    if (!list.children.length) fill(foot, (foot.shown = "Reading…"));
    load(false).then(comeBack).catch((error) => {
      more.hidden = all.hidden = counting.hidden = true;
      list.replaceChildren(); // it would answer another question
      fill(trouble);
      foot.classList.add("rc-empty");
      fail(error);
    });
  }
  function fail(error) {
    foot.shown = "";
    fill(foot, h("span", { class: "rc-red" }, sentence(error.message)));
  }
  // Back in the list it stands where it was left: as many rows, and the same place.
  let left = history.state;
  async function comeBack() {
    const { rows = 0, top = 0, at = "" } = left || {};
    left = null;
    while (next && list.children.length < rows) await load(true);
    if (!rows) return;
    [...list.querySelectorAll("a")].find((a) => a.getAttribute("href") === at)?.focus({ preventScroll: true });
    scrollTo({ top, behavior: "instant" });
  }
  addEventListener("pagehide", () => {
    const at = document.activeElement?.getAttribute("href") || "";
    history.replaceState({ rows: list.children.length, top: scrollY, at }, "");
  });
  async function load(older) {
    const turn = ++asked;
    let found;
    try {
      found = await get("/runs", { ...readQuery(search.value), after: older ? next : "" });
    } catch (error) {
      if (turn === asked) throw error;
    }
    if (turn !== asked) return; // a later question was answered, or is being asked
    paged = older || (paged && turn > 1 && older);
    next = found.next;
    const focused = document.activeElement?.getAttribute?.("href");
    const lines = found.runs.map((run) => Object.assign(line(run, found.now), { phase: run.ended < run.actions ? "running" : run.root?.phase || "queued", seen: run.root?.phase || "queued" }));
    if (older) list.append(...lines);
    else list.replaceChildren(...lines);
    if (focused) [...list.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
    more.hidden = !next;
    const none = list.children.length === 0;
    showBulk(Boolean(next));
    foot.classList.toggle("rc-empty", none);
    fill(trouble, found.problem || "");
    searched = found.searched + (older ? searched : 0);
    const tried = searched > list.children.length ? ` ${counted(searched, "run was", "runs were")} searched.` : "";
    const shown = none ? (next ? `Nothing here yet.${tried}` : nothing(search.value.trim())) : `${next ? "Shown are the newest" : "These are all"}: ${byPhase()}.${tried}`;
    if (foot.shown !== shown) fill(foot, (foot.shown = shown));
    counting.hidden = !next;
  }
  // How many rows there are, and of each phase.
  function byPhase() {
    const rows = [...list.children];
    return inPhases(rows.length, Object.fromEntries(PHASES.map((phase) => [phase, rows.filter((row) => row.seen === phase).length])));
  }
  // Of those that are not shown, too: asked for by a press, as each is looked at.
  async function countAll() {
    counting.ariaBusy = "true";
    try {
      const asked = search.value;
      const found = await get("/phases", readQuery(asked));
      if (asked === search.value) fill(total, `${found.complete ? "In all" : "In all at least"} ${inPhases(found.runs, found.phases)}.`);
    } catch (error) {
      fill(total, h("span", { class: "rc-red" }, sentence(error.message)));
    }
    counting.ariaBusy = "false";
  }
  let searched = 0;
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      changed();
      typing = true;
    }, 250);
  });
  search.addEventListener("change", () => (typing = false));
  addEventListener("popstate", () => {
    clearTimeout(timer);
    typing = false;
    [search.value] = readAddress();
    show();
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
  show();
  fill(told, strange && h("span", { class: "rc-red" }, strange));
  setInterval(() => {
    if (!document.hidden && !paged) load(false).catch(fail);
  }, EVERY);
}

// One run: its tree beside a timeline. Only the rows that are seen exist; changes come as server-sent events.

import { get, incarnation, live, page, stayWith, within } from "./api.js";
import { showButtons } from "./buttons.js";
import { CHEVRON, clamp, fill, h, icon } from "./dom.js";
import { PHASES, badge, brief, count, counted, dot, ended, shares, span, words } from "./format.js";
import { KINDS, LEGEND, RESTARTS, lineage, showAxis } from "./timeline.js";
import { Tree } from "./tree.js";

const ROW = 32;
const AROUND = 8; // rows kept above and below what is seen
const READ = 500; // actions read by name at a time
const EVERY = 1000; // a clock that runs is drawn so often
const LOOK = 4000; // without a stream the run is read so often
const SILENT = 12000; // after so long without a word of its stream a page is not live
const ASKS = 5; // questions that are named above the tree
const FIRST = 300; // actions read first, so that something is seen soon

export async function showRun(body, run) {
  const [project, domain, name] = run.split("/");
  document.title = `${name} · Runs`;
  const read = (after, limit) => get(`/runs/${run}/actions`, { after, incarnation, limit });
  const begun = read("", FIRST);
  begun.catch(() => {}); // the run itself says what is wrong
  const found = await get(`/runs/${run}`, { incarnation });
  stayWith(found.incarnation);
  const state = h("span", { class: "rc-live", role: "status" });
  const asks = h("div", { role: "status" });
  const head = h("div", { class: "rc-facts" });
  const buttons = h("div", { class: "rc-actions" });
  const legend = h("ul", { class: "rc-legend", "aria-label": "What the bars mean" });
  const filter = h("input", { type: "search", class: "rc-search rc-small", placeholder: "Find an action, task or phase", "aria-label": "Find an action" });
  const axis = h("div", { class: "rc-axis", "aria-hidden": "true" });
  const spacer = h("div", { class: "rc-spacer", role: "presentation" });
  const pane = h("div", { class: "rc-pane", role: "tree", tabindex: "0", "aria-label": `Actions of ${name}` }, spacer);
  fill(
    body,
    h("nav", { class: "rc-crumbs", "aria-label": "Where this is" }, h("a", { href: page("/runs") }, "Runs"), h("span", {}, project), h("span", {}, domain)),
    h("header", { class: "rc-head" }, h("h1", {}, name), head, buttons),
    asks,
    h("div", { class: "rc-tools" }, filter, state),
    h("section", { class: "rc-board" }, h("div", { class: "rc-board-head" }, h("span", {}, "Action"), axis), pane),
    legend,
  );

  const tree = new Tree();
  const clock = { offset: found.now - Date.now() };
  const now = () => Date.now() + clock.offset;
  let { phases } = found;
  let root = found.root;
  let focus = "";
  let critical = new Set();
  let drawn = new Map();
  let planned = false;
  let reading = false;
  const strange = new Set(); // new actions that were told in short
  let laid = 0; // when the rows were last made

  function showHead() {
    const actions = Object.values(phases).reduce((sum, one) => sum + one, 0);
    fill(
      head,
      root ? badge(root.phase) : "",
      root?.aborting ? h("span", { class: "rc-tag rc-red" }, "is being aborted") : "",
      shares(phases, actions || 1),
      h("span", {}, PHASES.filter((phase) => phases[phase]).map((phase) => `${count(phases[phase])} ${words(phase)}`).join(" · ")),
      h("span", { class: "rc-muted" }, root ? span((root.ended || now()) - root.created) : ""),
      lineage(found),
      root ? h("a", { href: within(`/runs/${run}/${root.name}`) }, "Inputs, outputs, log") : "",
      root && root.error ? h("div", { class: "rc-whole-line" }, clamp("error", h("div", { class: "rc-red" }, brief(root.error, run)), 240)) : "",
    );
  }

  // However deep a question lies, the run waits for its answer.
  function showAsks() {
    const waiting = [...tree.actions.values()].filter((one) => one.phase === "paused").map((one) => one.name);
    const seen = waiting.join();
    if (asks.dataset.seen === seen) return;
    asks.dataset.seen = seen;
    const links = waiting.slice(0, ASKS).map((one, index) => [index ? ", " : " ", h("a", { class: "rc-mono", href: within(`/runs/${run}/${one}`) }, one)]);
    const more = waiting.length > ASKS ? `, and ${count(waiting.length - ASKS)} more` : "";
    fill(asks, waiting.length ? h("p", { class: "rc-why" }, `${counted(waiting.length, "question waits", "questions wait")} for a person:`, links, more) : "");
  }

  function range() {
    let first = Infinity;
    let last = 0;
    for (const action of tree.actions.values()) {
      first = Math.min(first, action.created);
      last = Math.max(last, action.ended || now());
    }
    if (first === Infinity) first = now() - 1000;
    return [first, Math.max(last, first + 1000)];
  }

  const fits = () => {
    const text = filter.value.trim().toLowerCase();
    return text ? (one) => `${one.name} ${one.task} ${words(one.phase)} ${one.phase} ${one.error}`.toLowerCase().includes(text) : null;
  };

  function layout() {
    laid = Date.now();
    tree.layout(fits());
    critical = root && ended(root.phase) && tree.actions.size > 1 ? tree.critical() : new Set();
    showLegend();
    showAsks();
    spacer.style.setProperty("height", `${tree.rows.length * ROW}px`);
    drawn.forEach((element) => element.remove());
    drawn = new Map();
    if (!tree.rows.some((row) => row.key === focus)) focus = tree.rows[0]?.key || "";
    draw();
  }

  // What there is, and no more.
  function showLegend() {
    const kinds = new Set();
    for (const one of tree.actions.values()) for (const [kind, , over] of one.bars) kinds.add(kind === "runs" && over && over === one.ended ? `runs p-${one.phase}` : kind);
    if (kinds.has("erred")) kinds.delete("runs p-failed"); // they look alike
    const shown = Object.keys(LEGEND).filter((kind) => kinds.has(kind));
    const seen = `${shown} ${critical.size > 0}`;
    if (legend.dataset.seen === seen) return;
    legend.dataset.seen = seen;
    const key = (kind) => h("span", { class: "rc-key", "aria-hidden": "true" }, h("span", { class: `rc-bar k-${kind}` }));
    fill(
      legend,
      shown.map((kind) => h("li", {}, key(kind), LEGEND[kind])),
      critical.size ? h("li", { class: "rc-critical" }, key("whole"), "critical path: of each action the child that ended last") : "",
    );
  }

  function draw() {
    planned = false;
    const [first, last] = range();
    showAxis(axis, pane, last - first);
    const from = Math.max(0, Math.floor(pane.scrollTop / ROW) - AROUND);
    const to = Math.min(tree.rows.length, Math.ceil((pane.scrollTop + pane.clientHeight) / ROW) + AROUND);
    for (const [index, element] of drawn)
      if (index < from || index >= to) {
        element.remove();
        drawn.delete(index);
      }
    for (let index = from; index < to; index += 1) {
      if (drawn.has(index)) continue;
      const element = line(tree.rows[index], index, first, last);
      drawn.set(index, element);
      spacer.append(element);
    }
    mark();
    if (!reading) complete();
  }

  // Reads in full what is new, and what is seen, of all that was told in short.
  async function complete() {
    const seen = [...drawn.keys()].map((index) => tree.rows[index].action).filter((one) => one?.brief);
    const names = [...strange, ...seen.map((one) => one.name)].slice(0, READ);
    if (!names.length) return;
    reading = true;
    const fresh = strange.size > 0;
    names.forEach((name) => strange.delete(name)); // who changes again meanwhile is read again
    try {
      put((await get(`/runs/${run}/actions`, { names: names.join(), incarnation })).actions);
      if (!fresh) tree.refresh();
      fresh ? layout() : redraw();
    } catch {
      names.filter((name) => !tree.actions.has(name)).forEach((name) => strange.add(name));
    }
    setTimeout(() => {
      reading = false;
      complete();
    }, EVERY);
  }

  function redraw() {
    showLegend();
    drawn.forEach((element) => element.remove());
    drawn = new Map();
    draw();
  }

  function line(row, index, first, last) {
    const about = row.action || row.total;
    const decides = (row.group || [row.action]).some((one) => critical.has(one.name));
    const label = row.group ? `${count(row.group.length)} × ${about.task}` : about.name;
    return h(
      "div",
      {
        class: `rc-row${decides ? " rc-critical" : ""}`,
        id: `row-${index}`,
        role: "treeitem",
        "aria-level": row.level + 1,
        "aria-expanded": row.kids ? String(row.opened) : null,
        "aria-setsize": tree.rows.length,
        "aria-posinset": index + 1,
        "aria-description": [decides ? "on the critical path" : "", ...pieces(row).map(told)].filter(Boolean).join("; "),
        style: { top: `${index * ROW}px` },
        onclick: () => choose(row),
        ondblclick: () => follow(row),
      },
      h(
        "div",
        { class: "rc-cell", style: { "padding-left": `${12 + row.level * 16}px` } },
        row.kids ? h("span", { class: `rc-fold${row.opened ? " rc-open" : ""}`, onclick: (event) => (event.stopPropagation(), fold(row)) }, icon(CHEVRON)) : h("span", { class: "rc-fold" }),
        dot(about.phase),
        row.action ? h("a", { class: "rc-name", tabindex: "-1", href: within(`/runs/${run}/${about.name}`) }, about.name) : h("span", { class: "rc-name" }, label),
        row.action ? h("span", { class: "visually-hidden" }, words(about.phase)) : "",
        row.action && about.aborting ? h("span", { class: "rc-tag rc-red" }, "is being aborted") : "",
        h("span", { class: "rc-task" }, row.action ? about.task : words(about.phase)),
        row.action && about.attempt > 1 ? h("span", { class: "rc-tag", title: "attempts so far" }, `×${about.attempt}`) : "",
        row.action && about.launches > about.resumes ? h("span", { class: "rc-tag", title: "launched again after launches that were lost or failed" }, `↻${about.launches - about.resumes}`) : "",
        row.action && about.resumes ? h("span", { class: "rc-tag rc-went", title: "was suspended and went on, no failure" }, `went on ${about.resumes}×`) : "",
      ),
      h("div", { class: "rc-track", title: decides ? "on the critical path" : null }, pieces(row).map((bar) => piece(bar, about, first, last))),
    );
  }

  function pieces(row) {
    if (row.action) return row.action.bars;
    const { created, began, ended: over } = row.total;
    if (over && !began) return [["whole", created, over, 1]];
    return [["waits", created, began || over, 1], ...(began ? [["runs", began, over, 1]] : [])];
  }

  function piece([kind, start, over, attempt, why], about, first, last) {
    const until = over || now();
    const left = ((start - first) / (last - first)) * 100;
    const width = ((until - start) / (last - first)) * 100;
    const tail = over && over === about.ended ? ` p-${about.phase}` : "";
    const text = told([kind, start, over, attempt, why || (tail && about.error)]);
    return h("span", { class: `rc-bar k-${kind}${tail}${over ? "" : " rc-goes-on"}`, title: text, style: { left: `${left}%`, width: `max(3px, ${width}%)` } });
  }

  function told([kind, start, over, attempt, why]) {
    if (kind === "taken") return KINDS[kind];
    if (kind === "whole" && why === RESTARTS) why = "";
    return `${KINDS[kind]}, attempt ${attempt}: ${span((over || now()) - start)}${why ? `; ${why === RESTARTS ? "back-off" : why}` : ""}`;
  }

  function mark() {
    for (const [index, element] of drawn) {
      const chosen = tree.rows[index].key === focus;
      element.classList.toggle("rc-chosen", chosen);
      if (chosen) pane.setAttribute("aria-activedescendant", element.id);
    }
  }

  function choose(row) {
    focus = row.key;
    mark();
    if (row.group) fold(row);
  }

  function fold(row, wanted) {
    tree.toggle(row.key, wanted);
    focus = row.key;
    layout();
  }

  function follow(row) {
    if (row.action) location.assign(within(`/runs/${run}/${row.action.name}`));
    else fold(row);
  }

  function move(step) {
    const index = tree.rows.findIndex((row) => row.key === focus);
    const to = Math.min(tree.rows.length - 1, Math.max(0, index + step));
    focus = tree.rows[to]?.key || "";
    if (to * ROW < pane.scrollTop) pane.scrollTop = to * ROW;
    if ((to + 1) * ROW > pane.scrollTop + pane.clientHeight) pane.scrollTop = (to + 1) * ROW - pane.clientHeight;
    draw();
  }

  function up(row) {
    const index = tree.rows.indexOf(row);
    const above = tree.rows.slice(0, index).findLastIndex((one) => one.level < row.level);
    if (above >= 0) move(above - index);
  }

  pane.addEventListener("scroll", () => {
    if (!planned) requestAnimationFrame(draw);
    planned = true;
  });
  pane.addEventListener("keydown", (event) => {
    const row = tree.rows.find((one) => one.key === focus);
    const pages = Math.floor(pane.clientHeight / ROW);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: pages, PageUp: -pages, Home: -1e9, End: 1e9 };
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "ArrowRight" && row?.kids) row.opened ? move(1) : fold(row, true);
    else if (event.key === "ArrowLeft" && row) row.kids && row.opened ? fold(row, false) : up(row);
    else if (event.key === "Enter" && row) follow(row);
    else return;
    event.preventDefault();
  });
  filter.addEventListener("input", layout);
  addEventListener("resize", redraw);

  function put(actions) {
    for (const action of actions) tree.put(action);
    if (root && tree.actions.has(root.name)) root = tree.actions.get(root.name);
  }

  showHead();
  const standing = () => `${root?.phase} ${Object.keys(phases).every(ended)}`;
  const lookAtButtons = (offered) => showButtons(buttons, offered, `${run}/${root?.name || "a0"}`, again, undefined, Boolean(root) && ended(root.phase));
  async function again() {
    lookAtButtons((await get(`/runs/${run}`, { incarnation })).buttons);
  }
  lookAtButtons(found.buttons);
  let part = await begun;
  put(part.actions);
  layout();
  while (part.next) {
    fill(state, `reading ${count(tree.actions.size)} of ${count(found.actions)}…`);
    part = await patiently(() => read(part.next));
    put(part.actions);
    layout();
  }
  showHead();

  async function patiently(ask) {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        fill(state, `read so far: ${count(tree.actions.size)} of ${count(found.actions)}. ${error.message} It is asked again.`);
        await new Promise((done) => setTimeout(done, LOOK));
      }
    }
  }

  const archived = () => fill(state, "from the archive");
  if (found.archived) return void archived();

  let looking = 0;
  let looked = found.now;
  let heard = Date.now(); // a stream says something every few seconds, also when nothing changes
  let open = false;
  const over = () => root && ended(root.phase) && Object.keys(phases).every(ended);
  const showState = () => {
    const silent = Date.now() - heard > SILENT;
    const text = silent ? `not live: Flower has said nothing since ${new Date(heard).toLocaleTimeString("en-GB")}` : over() ? "has ended" : "live";
    state.classList.toggle("rc-off", silent);
    if (state.textContent !== text) fill(state, text);
  };
  const notLive = (why) => fill(state, `not live: ${why}, looked at ${new Date(looked).toLocaleTimeString("en-GB")}`);

  // What a stream would tell, read as any page is, while there is none.
  async function look() {
    if (document.hidden) return;
    try {
      const seen = await get(`/runs/${run}`, { incarnation });
      const rows = await read("", FIRST);
      const shown = [...drawn.keys()].map((index) => tree.rows[index].action).filter((one) => one && !ended(one.phase));
      const open = shown.length ? await get(`/runs/${run}/actions`, { names: shown.map((one) => one.name).slice(0, READ).join(), incarnation }) : { actions: [] };
      if (!looking) return; // the stream is back, and is newer
      looked = Date.now();
      clock.offset = seen.now - looked;
      ({ phases, root } = seen);
      put([...rows.actions, ...open.actions]);
      if (!document.querySelector("dialog[open]")) lookAtButtons(seen.buttons);
      showHead();
      layout();
      notLive("the stream was refused or is away");
    } catch (error) {
      if (looking) notLive(error.message.replace(/\.$/, ""));
    }
  }

  const stream = live(
    run,
    found.cursor,
    (news) => {
      clock.offset = news.now - Date.now();
      heard = Date.now();
      if (news.gone) {
        stream.close();
        looking = clearInterval(looking);
        return void get(`/runs/${run}`, { incarnation }).then(archived, (error) => fill(state, error.message));
      }
      if (!news.actions.length && !news.brief.length) return void showState();
      const before = standing();
      phases = news.phases;
      put(news.actions);
      for (const one of news.brief) if (!tree.patch(one)) strange.add(one[0]);
      if (standing() !== before && !document.querySelector("dialog[open]")) again().catch(() => {});
      showHead();
      showState();
      layout();
    },
    (opened) => {
      open = opened;
      state.classList.toggle("rc-off", !open);
      if (open) {
        looking = clearInterval(looking);
        heard = Date.now();
        return void showState();
      }
      if (looking) return;
      looked = Date.now();
      notLive("the stream was refused or is away");
      looking = setInterval(look, LOOK);
      look();
    },
  );
  setInterval(() => {
    if (open) showState();
    if (document.hidden || !root || ended(root.phase) || Date.now() - laid < EVERY) return;
    showHead();
    redraw();
  }, EVERY);
}

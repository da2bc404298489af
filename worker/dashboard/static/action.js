// One action: why it waits, what it took and gave, its attempts with their logs, and what happened.

import { download, get, incarnation, page, stayWith, within } from "./api.js";
import { asked, showButtons } from "./buttons.js";
import { clamp, fill, h, visible } from "./dom.js";
import { badge, brief, counted, ended, sentence, size, span, stamp } from "./format.js";

const EVERY = 2000;
const at = (text) => (text ? Date.parse(text) : 0);

function fact(name, ...value) {
  const shown = value.flat().filter((one) => one !== "" && one !== null && one !== undefined);
  return shown.length ? [h("dt", {}, name), h("dd", {}, shown)] : [];
}

function section(title, ...children) {
  const id = `s-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h("section", { class: "rc-card", "aria-labelledby": id }, h("h2", { id }, title), children);
}

function whyBox(chain) {
  const waiting = chain.filter((one) => one.why);
  if (!waiting.length) return "";
  return h(
    "section",
    { class: "rc-why", "aria-label": waiting[0].reason === "running" ? "What it does" : "Why it waits" },
    waiting.map((one, index) =>
      h("p", { "data-reason": one.reason }, index ? h("a", { class: "rc-mono", href: page(`/runs/${one.action}`) }, one.action.split("/").slice(2).join("/")) : "", index ? " " : "", clamp(`why ${index}`, h("span", {}, sentence(readable(one.why))))),
    ),
  );
}

// A sentence for people: a time without its T and thousandths.
const readable = (text) => text.replace(/(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z/g, "$1 $2 UTC");

function documentBox(title, preview, action, which, types) {
  if (!preview) return "";
  if (preview.problem) return section(title, h("p", { class: "rc-red" }, preview.problem));
  const names = Object.entries(types || {}).map(([name, kind]) => `${name}: ${typeof kind === "string" ? kind : JSON.stringify(kind)}`);
  return section(
    title,
    names.length ? h("p", { class: "rc-muted rc-mono" }, names.join(", ")) : "",
    h("pre", { class: "rc-pre", role: "group", tabindex: "0", "aria-label": title }, preview.text),
    h("p", { class: "rc-muted" }, preview.cut ? "Cut here. " : "", h("a", { href: download(action, which) }, `Download, ${size(preview.size)}`)),
  );
}

function errorBox(found, run) {
  const error = found.error;
  if (!error) return "";
  return section(
    found.phase === "failed" || found.phase === "timed_out" ? "Error" : "Last error",
    clamp("error", h("p", { class: "rc-red rc-lines" }, h("strong", {}, error.code || "Error"), " ", error.message)),
    found.blame.length
      ? h("ol", { class: "rc-chain", "aria-label": "Where it comes from" }, found.blame.map((one) => h("li", {}, badge(one.phase), " ", h("a", { href: within(`/runs/${one.action}`) }, one.action.split("/").pop()), h("span", { class: "rc-muted" }, ` ${one.task} `), clamp(`blame ${one.action}`, h("span", {}, brief(one.error, run))))))
      : "",
    found.traceback ? h("pre", { class: "rc-pre", role: "group", tabindex: "0", "aria-label": "Traceback" }, found.traceback) : "",
  );
}

function attemptsBox(found, run, showLog) {
  const told = found.attempts_told;
  if (!told.length) return "";
  return section(
    "Attempts",
    h(
      "ol",
      { class: "rc-attempts" },
      told.map((one) => {
        return h(
          "li",
          {},
          h("span", { class: "rc-number" }, one.attempt),
          badge(one.phase),
          h("span", { class: "rc-muted" }, took(one, found)),
          long(`attempt ${one.attempt}`, one.error ? brief(`[${one.error.code}] ${one.error.message}`, run) : one.cache === "hit" ? "from the cache" : ""),
          found.question ? "" : h("button", { type: "button", class: "rc-button rc-quiet", onclick: () => showLog(one.attempt) }, "Log"),
          one.task ? h("a", { class: "rc-quiet-link", href: page(`/task/${one.task}`) }, "Celery task") : "",
        );
      }),
    ),
  );
}

const long = (key, ...text) => h("div", { class: "rc-grow" }, clamp(key, h("span", {}, text), 300));

// How long an attempt ran, and how long it had waited before. What it was suspended or lost, it did not run.
function took(one, { now, bars }) {
  const from = at(one.started_at);
  const began = at(one.began_at) || at(one.phases.find((phase) => phase.phase === "running")?.from);
  const last = at(one.ended_at) || now;
  const sum = (kind) => bars.reduce((all, [is, start, end, attempt]) => all + (is === kind && attempt === one.attempt && (!end || end > began) ? (end || now) - start : 0), 0);
  const away = [["suspended", sum("suspended")], ["lost", sum("lost")], ["again in line", sum("waits")]].filter(([, time]) => time >= 100);
  const ran = (time) => [span(away.reduce((left, [, one]) => left - one, time)), ...away.map(([kind, one]) => `${kind} ${span(one)}`)].join(", ");
  if (!from) return "";
  if (!began) return one.ended_at ? span(last - from) : `waits ${span(last - from)}`;
  if (began - from < 1000) return ran(last - began);
  const lined = Math.max(from, at(one.in_line_at));
  const of = lined - from < 1000 ? "" : `, ${span(began - lined)} of it`;
  return `${ran(last - began)}, after ${span(began - from)}${of} in line`;
}

// The date, above what happened on it.
function dayOf(events, index) {
  const [day] = stamp(at(events[index].at)).split(" ");
  return index && stamp(at(events[index - 1].at)).startsWith(day) ? "" : h("li", { class: "rc-muted" }, `${day}, UTC`);
}

// What a line of the history is about, where its event has no words for it.
function happened(event, texts, run) {
  const last = texts.length ? readable(texts.join(" · ")) : "";
  if (event.answer !== null) return ["answered ", h("strong", {}, event.answer)];
  const [, before, child] = /^(suspended; waits for )(\w[\w.]*(?:-[\w.]+)+)$/.exec(last) || [];
  if (child) return [before, h("a", { href: within(`/runs/${run}/${child}`) }, child)];
  if (last) return last;
  if (event.sequence === 1) return "submitted";
  return event.context.worker ? `on ${event.context.worker}` : "";
}

function historyBox(found, run) {
  const events = [...found.events_told].reverse();
  if (!events.length) return section("History", h("p", { class: "rc-muted" }, "Its events are no longer kept."));
  return section(
    "History",
    h(
      "ol",
      { class: "rc-history" },
      events.map((event, index) => {
        const texts = event.reasons.map((reason) => reason.message);
        if (event.error) texts.push(brief(`[${event.error.code}] ${event.error.message}`, run));
        const row = h(
          "li",
          {},
          h("time", { class: "rc-mono", datetime: event.at, title: stamp(at(event.at)) }, stamp(at(event.at)).slice(11, 19)),
          badge(event.phase),
          long(`event ${event.sequence}`, happened(event, texts, run), event.actor ? h("em", {}, ` by ${who(event)}`) : ""),
          h("span", { class: "rc-muted" }, `attempt ${event.attempt}`),
        );
        return [dayOf(events, index), row];
      }),
    ),
  );
}

function factsBox(found, run) {
  const from = at(found.created_at);
  const labels = Object.entries(found.labels).filter(([name]) => !name.startsWith("flyte.org/"));
  return h(
    "dl",
    { class: "rc-card rc-dl" },
    fact("Task", found.task),
    fact("Parent", found.parent ? h("a", { href: within(`/runs/${run}/${found.parent}`) }, found.parent) : ""),
    fact("Submitted by", who(found.submitted)),
    fact("Made by", madeBy(found.made_by)),
    fact("Children", found.children.total ? `${found.children.total}, ${found.children.open} open, ${found.children.failed} failed` : ""),
    fact("Created", stamp(from)),
    fact("Ended", found.ended_at ? `${stamp(at(found.ended_at))}, after ${span(at(found.ended_at) - from)}` : ""),
    fact("Attempt", found.attempts, found.launches > found.resumes ? ` (launched again ${found.launches - found.resumes}×)` : "", found.resumes ? ` (went on ${found.resumes}×)` : "", found.system_failures ? ` (${counted(found.system_failures, "system failure")})` : ""),
    fact("Worker", found.attempt && found.attempt.worker ? (suspended(found) ? `none; ${found.attempt.worker} ran it last` : found.attempt.worker) : ""),
    fact("Priority", found.priority, found.fair_key ? `, fair key ${found.fair_key}` : "", given(found.priorities)),
    fact("May begin", stamp(at(found.may_begin_at))),
    fact("Expires", stamp(at(found.expires_at))),
    fact("Cache", found.cache === "disabled" ? "" : found.cache.replaceAll("_", " "), cachedFrom(found)),
    fact("Aborted by", found.deletion ? clamp("abort", h("span", {}, `${who(found.deletion)}: ${found.deletion.reason}`)) : ""),
    fact("Answered by", found.signal ? who({ ...found.signal, actor: found.signal.by }) : ""),
    fact("Clean-up failed", found.cleanup_error || ""),
    fact("Labels", labels.map(([name, value]) => clamp(`label ${name}`, h("span", { class: "rc-tag", title: `${name}=${value}` }, `${name}=${value}`), 120))),
  );
}

// What was suspended keeps no worker.
const suspended = (found) => !ended(found.phase) && found.bars.at(-1)?.[0] === "suspended";
const who = (by) => (by ? `${by.actor || "unknown"}${by.door ? ` (${by.door})` : ""}` : "");

// Who gave it which priority, the last one first.
function given(priorities) {
  const [last, ...before] = [...priorities].reverse();
  const one = (said) => h("span", { title: stamp(at(said.at)) }, `${said.what.replace("priority ", "")} by ${who(said)}`);
  if (!last) return "";
  return [h("span", { title: stamp(at(last.at)) }, `, by ${who(last)}`), before.map((said) => h("div", { class: "rc-muted" }, "before: ", one(said)))];
}

// The run whose result was taken.
function cachedFrom(found) {
  const source = found.events_told.find((event) => event.cached_from?.run)?.cached_from;
  if (!source) return "";
  return [" from ", h("a", { href: page(`/runs/${source.project}/${source.domain}/${source.run}/${source.action}`) }, `${source.run} / ${source.action}`)];
}

function madeBy(lineage) {
  if (!lineage) return "";
  const [source, life] = lineage.source.split("@");
  return [`${lineage.verb} of `, h("a", { href: `${page(`/runs/${source}`)}?${new URLSearchParams({ incarnation: life || "" })}` }, source.split("/").pop()), lineage.changed ? ", changed" : ""];
}

// Colours and other controls of a terminal are left out; what is left is text. A line that was written over is shown anew.
const plain = (text) => text.replace(/\r+\n?/g, "\n").replace(/\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007]*\u0007/g, "");

// What was written before the traceback, with which a log of what failed ends: that stands above, with the error.
function beforeTrace(log, trace) {
  const [text, end] = [log.trimEnd(), (trace || "").trimEnd()];
  return end && text.endsWith(end) ? [text.slice(0, -end.length).trimEnd(), true] : [log, false];
}

export async function showAction(body, action) {
  const [project, domain, runName, name] = action.split("/");
  const run = `${project}/${domain}/${runName}`;
  document.title = `${name} · ${runName}`;
  const buttons = h("div", { class: "rc-actions" });
  const title = h("div", { class: "rc-facts" });
  const why = h("div", {});
  const main = h("div", { class: "rc-main" });
  const side = h("div", { class: "rc-side" });
  const logText = h("pre", { class: "rc-pre rc-log", role: "group", tabindex: "0", "aria-label": "Log" });
  const logHead = h("p", { class: "rc-muted", role: "status" });
  const log = section("Log", logHead, logText);
  log.hidden = true;
  let wanted = null;
  let byHand = null;
  let last = "";
  let reason = "";
  let over = false;
  let trace = "";

  fill(
    body,
    h("nav", { class: "rc-crumbs", "aria-label": "Where this is" }, h("a", { href: page("/runs") }, "Runs"), h("span", {}, `${project} / ${domain}`), h("a", { href: within(`/runs/${run}`) }, runName)),
    h("header", { class: "rc-head" }, h("h1", {}, name), title, buttons),
    why,
    h("div", { class: "rc-columns" }, main, side),
  );

  // A log that nobody asked for and in which nothing else stands than above is not shown.
  async function showLog(attempt, unasked = false) {
    wanted = attempt;
    if (!unasked) byHand = attempt;
    if (log.hidden) fill(logHead, (logHead.told = "Reading…"));
    logText.hidden ||= log.hidden;
    if (!unasked) log.hidden = false;
    const found = await get(`/actions/${action}/log`, { attempt, incarnation });
    if (wanted !== attempt) return;
    const [before, cut] = beforeTrace(found.log, trace);
    log.hidden = cut && !before && byHand !== attempt;
    if (log.hidden) return;
    const below = logText.scrollHeight - logText.scrollTop - logText.clientHeight < 40;
    logText.textContent = visible(plain(before));
    logText.hidden = !before;
    const told = `Attempt ${found.attempt}, ${size(found.size)}${found.cut ? ": here is its end" : ""}${found.grows ? (found.log ? ", while it runs" : ": it has written nothing yet") : !found.log ? ": it wrote nothing" : !cut ? "" : before ? ", without the traceback above" : ": nothing but the traceback above"}`;
    if (logHead.told !== told) fill(logHead, told, found.log ? [". ", h("a", { href: download(action, "log.txt", { attempt: found.attempt }), "aria-label": `Download the log of attempt ${found.attempt}` }, "Download")] : "");
    logHead.told = told;
    if (below) logText.scrollTop = logText.scrollHeight;
  }
  const openLog = (attempt) => showLog(attempt).then(() => log.scrollIntoView({ block: "nearest" }), (error) => fill(logHead, (logHead.told = error.message)));

  async function look() {
    const found = await get(`/actions/${action}`, { incarnation });
    stayWith(found.incarnation);
    over = ended(found.phase);
    const { now, ...rest } = found;
    const seen = JSON.stringify({ ...rest, why: rest.why.map((one) => one.reason) });
    const reasons = JSON.stringify(found.why.map((one) => one.why));
    if (reasons !== reason) fill(why, whyBox(found.why));
    reason = reasons;
    if (seen === last) return;
    last = seen;
    trace = found.traceback;
    fill(title, badge(found.phase), suspended(found) ? h("span", { class: "rc-tag" }, "suspended") : "", found.deletion && !over ? h("span", { class: "rc-tag rc-red" }, "is being aborted") : "", h("span", { class: "rc-muted" }, found.task), found.archived ? h("span", { class: "rc-tag", title: "read from the archive in S3" }, "archived") : "");
    if (!document.querySelector("dialog[open]")) showButtons(buttons, found.buttons, action, () => look(), undefined, over);
    fill(
      main,
      found.question ? section("Question", asked("question", found.question)) : "",
      errorBox(found, run),
      attemptsBox(found, run, openLog),
      log,
      documentBox("Inputs", found.inputs_preview, action, "inputs", found.types.inputs),
      documentBox("Outputs", found.outputs_preview, action, "outputs", found.types.outputs),
      historyBox(found, run),
    );
    fill(side, factsBox(found, run));
    // Its end is the traceback; of one that runs it is what happens now. One that is open is read once more: this may be the
    // last look, and what was read before it was not its end.
    const asks = ["failed", "running", "timed_out"].includes(found.attempts_told.at(-1)?.phase);
    const shown = wanted ?? (asks ? found.attempts : null);
    if (shown !== null) await showLog(shown, true).catch(() => {});
  }

  await look();
  setInterval(() => {
    if (document.hidden || over) return;
    look().catch(() => {});
    if (wanted !== null) showLog(wanted, true).catch(() => {});
  }, EVERY);
}

// One action: why it waits, what it took and gave, its attempts with their logs, and what happened.

import { download, get, incarnation, page, stayWith, within } from "./api.js";
import { showButtons } from "./buttons.js";
import { fill, h, prose, visible } from "./dom.js";
import { badge, ended, sentence, size, span, stamp } from "./format.js";

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
      h("p", { "data-reason": one.reason }, index ? h("a", { class: "rc-mono", href: page(`/runs/${one.action}`) }, one.action.split("/").slice(2).join("/")) : "", index ? " " : "", h("span", {}, sentence(readable(one.why)))),
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
    h("p", { class: "rc-muted" }, preview.cut ? "Cut here. " : "", h("a", { href: download(action, which) }, `Save ${size(preview.size)}`)),
  );
}

function errorBox(found) {
  const error = found.error;
  if (!error) return "";
  return section(
    found.phase === "failed" || found.phase === "timed_out" ? "Error" : "Last error",
    h("p", { class: "rc-red" }, h("strong", {}, error.code || "Error"), " ", error.message),
    found.blame.length
      ? h("ol", { class: "rc-chain", "aria-label": "Where it comes from" }, found.blame.map((one) => h("li", {}, badge(one.phase), " ", h("a", { href: within(`/runs/${one.action}`) }, one.action.split("/").pop()), h("span", { class: "rc-muted" }, ` ${one.task} `), h("span", { class: "rc-grow" }, one.error))))
      : "",
  );
}

function attemptsBox(found, showLog) {
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
          h("span", { class: "rc-muted" }, took(one, found.now)),
          h("span", { class: "rc-grow" }, one.error ? `[${one.error.code}] ${one.error.message}` : one.cache === "hit" ? "from the cache" : ""),
          found.question ? "" : h("button", { type: "button", class: "rc-button rc-quiet", onclick: () => showLog(one.attempt) }, "Log"),
          one.task ? h("a", { class: "rc-quiet-link", href: page(`/task/${one.task}`) }, "Celery task") : "",
        );
      }),
    ),
  );
}

// How long an attempt ran, and how long it had waited before.
function took(one, now) {
  const from = at(one.started_at);
  const began = at(one.began_at) || at(one.phases.find((phase) => phase.phase === "running")?.from);
  const last = at(one.ended_at) || now;
  if (!from) return "";
  if (!began) return one.ended_at ? span(last - from) : `waits ${span(last - from)}`;
  return began - from < 1000 ? span(last - began) : `${span(last - began)} after ${span(began - from)} in line`;
}

function historyBox(found) {
  const events = [...found.events_told].reverse();
  if (!events.length) return section("History", h("p", { class: "rc-muted" }, "Its events are no longer kept."));
  return section(
    "History",
    h(
      "ol",
      { class: "rc-history" },
      events.map((event) => {
        const texts = event.reasons.map((reason) => reason.message);
        if (event.error) texts.push(`[${event.error.code}] ${event.error.message}`);
        return h(
          "li",
          {},
          h("time", { class: "rc-mono", datetime: event.at }, stamp(at(event.at)).slice(11, 19)),
          badge(event.phase),
          h("span", { class: "rc-grow" }, texts.join(" · "), event.actor ? h("em", {}, ` by ${who(event)}`) : ""),
          h("span", { class: "rc-muted" }, `attempt ${event.attempt}`),
        );
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
    fact("Attempt", found.attempts, found.launches > found.resumes ? ` (launched again ${found.launches - found.resumes}×)` : "", found.resumes ? ` (went on ${found.resumes}×)` : "", found.system_failures ? ` (${found.system_failures} system failures)` : ""),
    fact("Worker", found.attempt && found.attempt.worker ? found.attempt.worker : ""),
    fact("Priority", found.priority, found.fair_key ? `, fair key ${found.fair_key}` : "", found.prioritized ? `, by ${who(found.prioritized)}` : ""),
    fact("May begin", stamp(at(found.may_begin_at))),
    fact("Expires", stamp(at(found.expires_at))),
    fact("Cache", found.cache === "disabled" ? "" : found.cache.replaceAll("_", " "), cachedFrom(found)),
    fact("Aborted by", found.deletion ? `${who(found.deletion)}: ${found.deletion.reason}` : ""),
    fact("Answered by", found.signal ? who({ ...found.signal, actor: found.signal.by }) : ""),
    fact("Clean-up failed", found.cleanup_error || ""),
    fact("Labels", labels.map(([name, value]) => h("span", { class: "rc-tag", title: `${name}=${value}` }, `${name}=${value}`))),
  );
}

const who = (by) => (by ? `${by.actor || "unknown"}${by.door ? ` (${by.door})` : ""}` : "");

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
  let last = "";
  let reason = "";
  let over = false;

  fill(
    body,
    h("nav", { class: "rc-crumbs", "aria-label": "Where this is" }, h("a", { href: page("/runs") }, "Runs"), h("span", {}, `${project} / ${domain}`), h("a", { href: within(`/runs/${run}`) }, runName)),
    h("header", { class: "rc-head" }, h("h1", {}, name), title, buttons),
    why,
    h("div", { class: "rc-columns" }, main, side),
  );

  async function showLog(attempt) {
    wanted = attempt;
    log.hidden = false;
    const found = await get(`/actions/${action}/log`, { attempt, incarnation });
    if (wanted !== attempt) return;
    const below = logText.scrollHeight - logText.scrollTop - logText.clientHeight < 40;
    logText.textContent = visible(plain(found.log));
    logText.hidden = !found.log;
    fill(logHead, `Attempt ${found.attempt}, ${size(found.size)}${found.cut ? ", its end" : ""}${found.grows ? (found.log ? ", while it runs" : ": it has written nothing yet") : found.log ? "" : ": it wrote nothing"}`);
    if (below) logText.scrollTop = logText.scrollHeight;
  }
  const openLog = (attempt) => showLog(attempt).then(() => log.scrollIntoView({ block: "nearest" }), (error) => fill(logHead, error.message));

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
    fill(title, badge(found.phase), h("span", { class: "rc-muted" }, found.task), found.archived ? h("span", { class: "rc-tag", title: "read from the archive in S3" }, "archived") : "");
    if (!document.querySelector("dialog[open]")) showButtons(buttons, found.buttons, action, () => look());
    fill(
      main,
      found.question ? section("Question", h("div", { class: "rc-question rc-prose" }, found.question.prompt ? prose(found.question.prompt_read) : found.question.name), found.question.description ? h("div", { class: "rc-muted rc-prose" }, prose(found.question.description_read)) : "") : "",
      errorBox(found),
      attemptsBox(found, openLog),
      log,
      documentBox("Inputs", found.inputs_preview, action, "inputs", found.types.inputs),
      documentBox("Outputs", found.outputs_preview, action, "outputs", found.types.outputs),
      historyBox(found),
    );
    fill(side, factsBox(found, run));
    // Its end is the traceback; of one that runs it is what happens now. One that is open is read once more: this may be the
    // last look, and what was read before it was not its end.
    const asks = ["failed", "running", "timed_out"].includes(found.attempts_told.at(-1)?.phase);
    const shown = wanted ?? (asks ? found.attempts : null);
    if (shown !== null) await showLog(shown).catch(() => {});
  }

  await look();
  setInterval(() => {
    if (document.hidden || over) return;
    look().catch(() => {});
    if (wanted !== null) showLog(wanted).catch(() => {});
  }, EVERY);
}

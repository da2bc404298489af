// How the installation is: lateness, queues, workers, schedules, and what went wrong lately.

import { get, page } from "./api.js";
import { fill, h } from "./dom.js";
import { count, counted, moment, sentence, size, span } from "./format.js";

const MARKS = { ok: "✓", problem: "✗", skipped: "–" };
const EVERY = 3000;
const LATE = 5000; // from then on somebody should look

function table(label, columns, rows) {
  // on a narrow screen each cell says what it is
  for (const row of rows) [...row.children].forEach((cell, index) => cell.setAttribute("data-label", columns[index]));
  return h(
    "div",
    { class: "rc-card rc-scroll", tabindex: "0", role: "region", "aria-label": label },
    h("h2", {}, label),
    h("table", { class: "rc-table" }, h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col" }, one)))), h("tbody", {}, rows)),
  );
}

const cells = (...values) => h("tr", {}, values.map((one) => h("td", {}, one)));

function figure(name, value, bad) {
  return h("div", { class: `rc-card rc-figure${bad ? " rc-bad" : ""}` }, h("strong", {}, value), h("span", {}, name));
}

// What the workers of a queue can run; a function that only some of them know says so.
function known(queue) {
  if (!queue.functions.length) return "–";
  const name = `fn:${queue.name}`;
  const names = queue.functions.map((one) => h("li", {}, h("code", {}, one.name), one.workers < queue.workers ? h("span", { class: "rc-red" }, ` ${one.workers} of ${queue.workers} workers`) : ""));
  return h("details", { open: opened.has(name), ontoggle: (event) => opened[event.target.open ? "add" : "delete"](name) }, h("summary", { "aria-label": `${counted(queue.functions.length, "function")} known in ${queue.name}` }, counted(queue.functions.length, "function")), h("ul", { class: "rc-names", tabindex: "0", "aria-label": `Functions of ${queue.name}` }, names));
}

const opened = new Set(); // lists a person opened, over the looks

// Workers that are up for long should have done it by now.
function never(one, found) {
  const late = found.workers.some((worker) => found.now - worker.started > 3 * one.every + LATE);
  return h("span", { class: late ? "rc-red" : "rc-muted" }, late ? "never" : "not yet");
}

function next(one, now) {
  if (one.next === null) return "when a steps worker looks";
  const left = one.next - now;
  if (left > 0) return `in ${span(left)}`;
  return h("span", { class: -left > Math.max(LATE, one.every) ? "rc-red" : "" }, -left < 1000 ? "now" : `due since ${span(-left)}`);
}

function list(label, entries, now, none) {
  if (!entries.length) return h("section", { class: "rc-card", "aria-label": label }, h("h2", {}, label), h("p", { class: "rc-muted" }, none));
  return table(
    label,
    ["When", "Action", "What"],
    entries.map((one) => cells(one.at ? moment(one.at, now) : "–", h("a", { class: "rc-mono", href: page(`/runs/${one.action}`) }, one.action.split("/").slice(2).join(" / ")), one.given_up ? h("span", { class: "rc-red" }, one.message) : one.message)),
  );
}

export async function showHealth(body) {
  document.title = "Health";
  const place = h("div", {});
  const told = h("div", { "aria-live": "polite" });
  const ask = h("button", { type: "button", class: "rc-button", "data-doctor": true, onclick: () => doctor() }, "Ask the doctor");
  fill(body, h("header", { class: "rc-head" }, h("h1", {}, "Health"), h("div", { class: "rc-facts" }), ask), told, place);

  async function doctor() {
    ask.disabled = true;
    fill(told, h("p", { class: "rc-muted" }, "Each server and worker is looked at…"));
    try {
      const found = await get("/doctor");
      const lines = found.checks.flatMap((one) => (one.problems.length ? one.problems : [one.detail || ""]).map((text) => [one, text]));
      fill(
        told,
        h(
          "section",
          { class: "rc-card", "aria-label": "What reconciler doctor says" },
          h("h2", {}, found.ok ? "All is well" : "Not all is well"),
          h("ul", { class: "rc-history" }, lines.map(([one, text]) => h("li", {}, h("span", { class: one.state === "problem" ? "rc-mark rc-red" : "rc-mark rc-muted" }, MARKS[one.state]), h("strong", { class: "rc-check" }, one.name), h("span", { class: `rc-grow${one.state === "problem" ? " rc-red" : ""}` }, text)))),
        ),
      );
    } catch (error) {
      fill(told, h("p", { class: "rc-problem", role: "alert" }, sentence(error.message)));
    }
    ask.disabled = false;
  }

  async function look() {
    const found = await get("/health");
    const waiting = found.queues.reduce((sum, queue) => sum + queue.waiting, 0);
    fill(
      place,
      h(
        "div",
        { class: "rc-figures" },
        found.late < 1000 ? figure("no step is late", "On time", false) : figure("the oldest step is late", span(found.late), found.late > LATE),
        figure(waiting === 1 ? "launch waits" : "launches wait", count(waiting), false),
        figure(found.workers.length === 1 ? "worker lives" : "workers live", count(found.workers.length), !found.workers.length),
        figure(`worker ${found.lost.count === 1 ? "lease" : "leases"} lost within a day`, count(found.lost.count), found.lost.count > 0),
        found.memory ? figure(found.memory.limit ? `of ${size(found.memory.limit)} of Redis in use` : "of Redis in use, without a limit", size(found.memory.used), found.memory.limit && found.memory.used > found.memory.limit * 0.85) : "",
      ),
      table(
        "Queues",
        ["Queue", "Waiting", "Workers", "Functions known", "State", "Limit"],
        found.queues.map((queue) => cells(queue.name, count(queue.waiting), count(queue.workers), known(queue), queue.paused ? h("span", { class: "rc-red" }, "paused") : queue.workers ? "open" : h("span", { class: "rc-red" }, "no worker"), queue.limit === null ? "none" : count(queue.limit))),
      ),
      table(
        "Workers",
        ["Worker", "Process", "Queues", "Functions", "Release", "Started", "Troubles"],
        found.workers.map((one) => cells(one.name, one.process, one.queues.join(", "), one.functions === null ? "none: it takes steps" : count(one.functions), one.release, moment(one.started, found.now), one.troubles.length ? h("span", { class: "rc-red" }, one.troubles.join(" ")) : "none")),
      ),
      table(
        "Schedules",
        ["Schedule", "Every", "Last", "Next"],
        found.schedules.map((one) => cells(one.name, span(one.every), one.last === null ? never(one, found) : moment(one.last, found.now), next(one, found.now))),
      ),
      list("Lost workers", found.lost.newest, found.now, "No worker was lost within a day."),
      list("Clean-ups that are stuck", found.cleanups, found.now, "None is stuck, and none was given up within a day."),
    );
  }
  const lookAgain = () => look().catch((error) => fill(place, h("p", { class: "rc-problem", role: "alert" }, sentence(error.message))));
  await lookAgain();
  setInterval(() => document.hidden || lookAgain(), EVERY);
}

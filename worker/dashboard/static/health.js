// How the installation is: lateness, queues, workers.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { count, moment, span } from "./format.js";

const EVERY = 3000;
const LATE = 5000; // from then on somebody should look

function table(label, columns, rows) {
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

export async function showHealth(body) {
  document.title = "Health";
  const place = h("div", {});
  fill(body, h("header", { class: "rc-head" }, h("h1", {}, "Health")), place);

  async function look() {
    const found = await get("/health");
    const waiting = found.queues.reduce((sum, queue) => sum + queue.waiting, 0);
    const swept = Object.entries(found.sweeps).map(([name, since]) => figure(`since the sweep ${name}`, since === null ? "never" : span(since), since === null));
    fill(
      place,
      h(
        "div",
        { class: "rc-figures" },
        figure("the oldest step is late", span(found.late), found.late > LATE),
        figure("launches wait", count(waiting), false),
        figure("workers live", count(found.workers.length), !found.workers.length),
        swept,
      ),
      table(
        "Queues",
        ["Queue", "Waiting", "Workers", "State", "Limit"],
        found.queues.map((queue) => cells(queue.name, count(queue.waiting), count(queue.workers), queue.paused ? h("span", { class: "rc-red" }, "paused") : queue.workers ? "open" : h("span", { class: "rc-red" }, "no worker"), queue.limit === null ? "none" : count(queue.limit))),
      ),
      table(
        "Workers",
        ["Worker", "Process", "Queues", "Functions", "Release", "Started", "Troubles"],
        found.workers.map((one) => cells(one.name, one.process, one.queues.join(", "), one.functions === null ? "–" : count(one.functions), one.release, moment(one.started, found.now), one.troubles.length ? h("span", { class: "rc-red" }, one.troubles.join(" ")) : "none")),
      ),
    );
  }
  await look();
  setInterval(() => {
    if (!document.hidden) look().catch((error) => fill(place, h("p", { class: "rc-problem", role: "alert" }, error.message)));
  }, EVERY);
}

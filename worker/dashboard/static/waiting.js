// What waits for a person: one card for each question, with its form behind a button.

import { get, page, readOnly } from "./api.js";
import { asked, showButtons } from "./buttons.js";
import { coded, fill, h } from "./dom.js";
import { ago, count, moment, sentence, stamp } from "./format.js";

const EVERY = 5000;

function told({ questions, waiting, complete }) {
  if (!complete) return "More questions wait than were looked through: those of your projects may be among them.";
  if (waiting > questions.length) return `The newest ${count(questions.length)} of ${count(waiting)}.`;
  if (!questions.length) return "Nothing waits for you.";
  return readOnly ? "This Flower is read-only, so answer with `reconciler signal`; started with FLOWER_BASIC_AUTH=user:password it has a form for it." : "";
}

export async function showWaiting(body) {
  document.title = "Waiting for you";
  const list = h("ul", { class: "rc-cards" });
  const foot = h("p", { class: "rc-foot", role: "status" });
  const answered = h("p", { class: "rc-told", role: "status" });
  fill(body, h("header", { class: "rc-head" }, h("h1", {}, "Waiting for you")), answered, list, foot);
  let last = "";

  function card(one, now) {
    const [project, domain, run, name] = one.action.split("/");
    const buttons = h("div", { class: "rc-actions" });
    showButtons(buttons, one.buttons.filter((button) => button.name === "signal"), one.action, () => look(), answered);
    return h(
      "li",
      { class: "rc-card" },
      asked(one.action, one),
      h("p", { class: "rc-muted" }, h("a", { href: page(`/runs/${one.action}`) }, `${run} / ${name}`), ` in ${project} / ${domain}, asked `, moment(one.created, now), ` for ${one.asks_for}`, one.until ? [", until ", stamp(one.until), one.until > now ? ` (${ago(one.until, now)})` : ""] : ""),
      buttons,
    );
  }

  async function look() {
    const found = await get("/waiting");
    const seen = JSON.stringify(found.questions);
    if (seen !== last && !document.querySelector("dialog[open]")) {
      last = seen;
      list.replaceChildren(...found.questions.map((one) => card(one, found.now)));
    }
    fill(foot, coded(told(found)));
    foot.classList.toggle("rc-empty", !found.questions.length);
  }
  const lookAgain = () => look().catch((error) => fill(foot, h("span", { class: "rc-red" }, sentence(error.message))));
  await lookAgain();
  setInterval(() => document.hidden || lookAgain(), EVERY);
}

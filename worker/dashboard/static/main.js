// Decides by the address which page this is.

import { page, prefix, readOnly, seesAll } from "./api.js";
import { coded, fill, h } from "./dom.js";
import { showAction } from "./action.js";
import { sentence } from "./format.js";
import { showHealth } from "./health.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";
import { showWaiting } from "./waiting.js";

// An address may hold what is no text, as %zz: then nothing is found under it.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const main = document.getElementById("main-content");
const path = decoded(location.pathname.slice(prefix.length)) || "/";
const names = path.split("/").filter(Boolean);

const READ_ONLY = "Nothing can be pressed here: this Flower has no login, or was started with --read_only. FLOWER_BASIC_AUTH=user:password gives it one.";
const TABS = [["Runs", "/runs"], ["Waiting for you", "/waiting"], ...(seesAll ? [["Health", "/health"]] : [])]; // health tells of all projects

function tabs(here) {
  return h(
    "nav",
    { class: "rc-tabs", "aria-label": "Runs" },
    TABS.map(([label, to]) => h("a", { href: page(to), "aria-current": to === here ? "page" : to === section ? "true" : null }, label)),
    readOnly ? h("span", { class: "rc-tag rc-apart", title: READ_ONLY }, "read-only") : "",
  );
}

function problem(error) {
  const again = h("button", { type: "button", class: "rc-button", onclick: () => location.reload() }, "Try again");
  main.append(h("div", { class: "rc-problem", role: "alert" }, h("span", {}, coded(sentence(error.message))), again));
}

const body = h("div", { class: "rc-body" });
const here = names[0] === "waiting" ? "/waiting" : names[0] === "health" ? "/health" : names.length > 1 ? "" : "/runs";
const section = here || "/runs"; // a run lies below the list of runs
fill(main, tabs(here), body);

let shown;
if (names[0] === "waiting") shown = showWaiting(body);
else if (names[0] === "health" && !seesAll) shown = Promise.reject(new Error("Health tells of all projects at once, and your login sees some of them."));
else if (names[0] === "health") shown = showHealth(body);
else if (names.length === 5) shown = showAction(body, names.slice(1).join("/"));
else if (names.length === 4) shown = showRun(body, names.slice(1).join("/"));
else shown = showRuns(body);
shown.catch(problem);

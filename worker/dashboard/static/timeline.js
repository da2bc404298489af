// What the bars of a timeline mean, its axis, and the lineage of its run.

import { page } from "./api.js";
import { fill, h } from "./dom.js";
import { span } from "./format.js";

const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5];
export const RESTARTS = "restarting task"; // what the engine writes when a back-off begins
export const LEGEND = { waits: "waits", runs: "runs", "runs p-succeeded": "ran, and succeeded", "runs p-aborted": "ran, and was aborted", passes: "ran and was suspended in turns", suspended: "suspended, keeps no worker", asks: "asks a person", erred: "ran, and failed", "runs p-failed": "ran, and failed", "runs p-timed_out": "ran, and timed out", failed: "failed attempt", lost: "ran, and was launched again", whole: "waited and ran", taken: "taken over from another run" };
export const KINDS = { waits: "waits", runs: "runs", asks: "asks a person", suspended: "suspended, waits for what it started", erred: "ran, and failed", failed: "failed", lost: "ran, and was lost or failed by the platform's fault: launched again", whole: "waited and ran", taken: "taken over from another run", passes: "ran and was suspended in turns" };

// What the run was made of, and what was made of it.
export function lineage({ made_by: by, made_into: into }) {
  const link = (path) => h("a", { href: page(`/runs/${path}`) }, path.split("/").pop());
  const [source, life] = by ? by.source.split("@") : [];
  return [
    by ? h("span", {}, `${by.verb} of `, h("a", { href: `${page(`/runs/${source}`)}?${new URLSearchParams({ incarnation: life || "" })}` }, source.split("/").pop()), by.changed ? ", changed" : "") : "",
    into.length ? h("span", {}, "made into ", into.map((one, index) => [index ? ", " : "", link(one)])) : "",
  ];
}

// Round times, at most six of them; where there is little room only the whole.
export function showAxis(axis, pane, whole) {
  const step = TICKS.find((one) => whole / one <= 6) || Math.ceil(whole / 6 / 864e5) * 864e5;
  const ticks = Array.from({ length: Math.floor(whole / step) + 1 }, (_, index) => index * step);
  const seen = `${step} ${whole}`;
  if (axis.dataset.seen === seen) return;
  axis.dataset.seen = seen;
  pane.style.setProperty("--rc-tick", `${(step / whole) * 100}%`);
  const tick = (at) => h("span", { class: at / whole > 0.96 ? "rc-at-end" : "", style: { left: `${(at / whole) * 100}%` } }, at ? span(at) : "0");
  fill(axis, ticks.map(tick), h("span", { class: "rc-whole" }, span(whole)));
}

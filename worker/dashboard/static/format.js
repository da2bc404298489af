// Times, numbers and phases as people read them.

import { h } from "./dom.js";

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

// As `reconciler` writes it, with more of short ones: 627ms, 3.2s, 33s, 5m 6s, 2h.
export function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 10000) return `${(Math.floor(ms / 100) / 10).toFixed(ms % 1000 ? 1 : 0)}s`;
  let left = Math.floor(ms / 1000);
  const parts = [];
  for (const [seconds, unit] of UNITS) {
    const count = Math.floor(left / seconds);
    left -= count * seconds;
    if (count) parts.push(`${count}${unit}`);
    else if (parts.length) break;
  }
  return parts.slice(0, 2).join(" ");
}

export function ago(at, now) {
  if (!at) return "";
  return at > now ? `in ${span(at - now)}` : now - at < 1000 ? "just now" : `${span(now - at)} ago`;
}

export const stamp = (at) => (at ? new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC") : "");

export function moment(at, now) {
  return at ? h("time", { datetime: new Date(at).toISOString(), title: stamp(at) }, ago(at, now)) : "";
}

export const count = (number) => number.toLocaleString("en-US");
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// A text as a sentence: a capital first, and one full stop at most.
export const sentence = (text) => (/^[^\s/]+\//.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1)) + (/[.?!…]\s*$/.test(text) ? "" : ".");

// An error in a list: what is before its name, and the place it is shown at, say nothing there.
export const brief = (error, run) => error.replace(/\[(?:\w+\.)+(\w+)\]/g, "[$1]").replaceAll(`${run}/`, "");

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1048576) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1048576).toFixed(1)} MiB`;
}

export const PHASES = [
  "running", "initializing", "waiting_for_resources", "queued", "paused", "succeeded", "recovered", "failed", "timed_out",
  "aborted",
];
const ENDED = new Set(["succeeded", "recovered", "failed", "timed_out", "aborted"]);
export const ended = (phase) => ENDED.has(phase);
export const words = (phase) => phase.replaceAll("_", " ");

export const dot = (phase) => h("span", { class: `rc-dot p-${phase}`, "aria-hidden": "true" });
export const badge = (phase) => h("span", { class: `rc-badge p-${phase}` }, dot(phase), words(phase));

// A bar of how many actions are in each phase, with the numbers as its text.
export function shares(phases, actions) {
  const present = PHASES.filter((phase) => phases[phase]);
  const text = present.map((phase) => `${count(phases[phase])} ${words(phase)}`).join(", ");
  return h(
    "span",
    { class: "rc-shares", role: "img", "aria-label": text, title: text },
    present.map((phase) => h("span", { class: `p-${phase}`, style: { "flex-grow": phases[phase] / actions } })),
  );
}

export const parts = (path) => path.split("/");

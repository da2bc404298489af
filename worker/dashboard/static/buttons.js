// The buttons of an action, as the API tells them: each opens a small form, and nothing happens before it is sent.

import { get, incarnation, page, press } from "./api.js";
import { clamp, fill, h, prose } from "./dom.js";
import { controlOf } from "./fields.js";
import { sentence } from "./format.js";

// What a person is asked, cut where it is long.
export const asked = (key, { name, prompt, prompt_read: read, description, description_read: more }) => [
  clamp(`${key} prompt`, h("div", { class: "rc-question rc-prose" }, prompt ? prose(read) : name), 600),
  description ? clamp(`${key} description`, h("div", { class: "rc-muted rc-prose" }, prose(more)), 600) : "",
];

// The keyboard goes back to where it was; if that was drawn anew meanwhile, to what stands there now.
function back(opener) {
  const same = opener.isConnected ? opener : document.querySelector(`[data-button="${opener.dataset.button}"]`);
  (same || document.getElementById("main-content")).focus();
}

// What follows a press is looked at again anyhow, when it fails.
const settle = (look) => Promise.resolve(look).catch(() => {});

export function openForm(button, subject, done, deliver = (text) => press(subject, button.name, text), refused = () => {}) {
  const inputs = button.fields.map((field) => [field, controlOf(field)]);
  const told = h("p", { class: "rc-red", role: "alert" });
  const send = h("button", { type: "submit", class: `rc-button rc-strong${button.danger ? " rc-danger" : ""}` }, button.label);
  const opener = document.activeElement;
  const close = () => dialog.close(); // as Escape does
  let wasRefused = false;
  function closed() {
    dialog.remove();
    back(opener);
    if (wasRefused) settle(refused()); // another tab may have been quicker
  }
  async function submit(event) {
    event.preventDefault();
    if (send.disabled) return;
    fill(told);
    try {
      const values = inputs.map(([field, control]) => `${JSON.stringify(field.name)}:${control.text()}`);
      send.disabled = true;
      const answer = await deliver(`{${values.join()}}`);
      close();
      if (answer.run) location.assign(page(`/runs/${answer.run}`));
      else settle(done(answer));
    } catch (error) {
      fill(told, sentence(error.message));
      send.disabled = false;
      wasRefused = true;
    }
  }
  const dialog = h(
    "dialog",
    { class: "rc-dialog", "aria-labelledby": "rc-dialog-title", onclose: closed },
    h(
      "form",
      { onsubmit: submit },
      h("h2", { id: "rc-dialog-title" }, button.label),
      h("p", { class: "rc-mono rc-muted" }, subject),
      h("p", {}, button.explains),
      inputs.map(([, control]) => control.element),
      told,
      h("div", { class: "rc-dialog-foot" }, h("button", { type: "button", class: "rc-button", onclick: close }, "Cancel"), send),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  (dialog.querySelector("input, select, textarea") || send).focus();
  for (const [field, control] of inputs) if (field.source) load(field, control);

  // What is large is read when the form is opened; nothing can be sent before.
  async function load(field, { input, take }) {
    input.placeholder = "Reading…";
    input.readOnly = send.disabled = true;
    try {
      const found = await get(`/actions/${subject}/${field.source}`, { incarnation });
      const held = dialog.contains(document.activeElement);
      input.value = found[field.name];
      take(found.parts);
      input.readOnly = send.disabled = false;
      if (held) dialog.querySelector("input, select, textarea").focus();
    } catch (error) {
      input.placeholder = "";
      fill(told, error.message);
    }
  }
}

// Says below the buttons what became of the last press.
function telling(place) {
  place.told ||= h("p", { class: "rc-told", role: "status" });
  if (place.isConnected && !place.told.isConnected) place.after(place.told);
  return place.told;
}

// `over`: it has ended, so an abort that was asked for goes on no more.
export function showButtons(place, buttons, action, done, told = telling(place), over = false) {
  if (over && told.begun) fill(told);
  if (over) told.begun = false;
  const seen = JSON.stringify(buttons);
  if (place.seen === seen) return; // so that nobody loses the button he is on
  place.seen = seen;
  const answered = (answer) => {
    fill(told, answer.told);
    told.begun = answer.button === "abort" && answer.outcome !== "ended before";
    return done(answer);
  };
  fill(
    place,
    (buttons || []).map((button) =>
      h("button", { type: "button", class: `rc-button${button.danger ? " rc-danger" : button.name === "signal" ? " rc-strong" : ""}`, "data-button": button.name, onclick: () => openForm(button, action, answered, undefined, done) }, button.label),
    ),
  );
}

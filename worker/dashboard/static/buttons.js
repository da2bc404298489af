// The buttons of an action, as the API tells them: each opens a small form, and nothing happens before it is sent.

import { get, incarnation, page, press } from "./api.js";
import { fill, h } from "./dom.js";
import { sentence } from "./format.js";

// A number is sent as it was typed: JSON of a browser would round large ones.
function literal(field, input) {
  const text = input.value.trim();
  if (field.type === "bool") return input.value === "true" ? "true" : "false";
  if (field.type === "int") {
    if (!/^-?\d+$/.test(text)) throw new Error(`${field.label} must be a whole number.`);
    if (text.length > 400 || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) throw new Error(`${field.label} must be from -9223372036854775808 to 9223372036854775807.`);
    return text.replace(/^(-?)0+(?=\d)/, "$1");
  }
  if (field.type === "float") {
    if (!text || Number.isNaN(Number(text))) throw new Error(`${field.label} must be a number.`);
    if (!Number.isFinite(Number(text))) throw new Error(`${field.label} is too large: at most 1.7976931348623157e308 can be stored.`);
    return JSON.stringify(Number(text));
  }
  if (field.type === "json") {
    try {
      JSON.parse(text);
    } catch (error) {
      throw new Error(`${field.label} must be a JSON document: ${error.message}`);
    }
    return text;
  }
  return JSON.stringify(input.value);
}

function control(field) {
  const id = `field-${field.name}`;
  const first = field.value === undefined || field.value === null ? "" : String(field.value);
  if (field.type === "bool")
    return h("select", { id, name: field.name }, h("option", { value: "true" }, "yes"), h("option", { value: "false" }, "no"));
  if (field.type === "json") return h("textarea", { id, name: field.name, rows: 10, class: "rc-mono", spellcheck: "false", value: first });
  return h("input", { id, name: field.name, value: first, inputmode: field.type === "int" ? "numeric" : null, autocomplete: "off" });
}

// The keyboard goes back to where it was; if that was drawn anew meanwhile, to what stands there now.
function back(opener) {
  const same = opener.isConnected ? opener : document.querySelector(`[data-button="${opener.dataset.button}"]`);
  (same || document.getElementById("main-content")).focus();
}

// What follows a press is looked at again anyhow, when it fails.
const settle = (look) => Promise.resolve(look).catch(() => {});

export function openForm(button, subject, done, deliver = (text) => press(subject, button.name, text), refused = () => {}) {
  const inputs = button.fields.map((field) => [field, control(field)]);
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
      const values = inputs.map(([field, input]) => `${JSON.stringify(field.name)}:${literal(field, input)}`);
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
      inputs.map(([field, input]) => h("label", { for: input.id }, field.label, input)),
      told,
      h("div", { class: "rc-dialog-foot" }, h("button", { type: "button", class: "rc-button", onclick: close }, "Cancel"), send),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  (inputs[0]?.[1] || send).focus();
  for (const [field, input] of inputs) if (field.source) load(field, input);

  // What is large is read when the form is opened; nothing can be sent before.
  async function load(field, input) {
    input.placeholder = "Reading…";
    input.readOnly = send.disabled = true;
    try {
      input.value = (await get(`/actions/${subject}/${field.source}`, { incarnation }))[field.name];
      input.readOnly = send.disabled = false;
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

export function showButtons(place, buttons, action, done, told = telling(place)) {
  const seen = JSON.stringify(buttons);
  if (place.seen === seen) return; // so that nobody loses the button he is on
  place.seen = seen;
  const answered = (answer) => {
    fill(told, answer.told);
    return done(answer);
  };
  fill(
    place,
    (buttons || []).map((button) =>
      h("button", { type: "button", class: `rc-button${button.danger ? " rc-danger" : ""}`, "data-button": button.name, onclick: () => openForm(button, action, answered, undefined, done) }, button.label),
    ),
  );
}

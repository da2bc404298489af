// The fields of a form: each has an element, and tells what it holds as a text of JSON. Nothing is rounded on the way.

import { fill, h } from "./dom.js";

const checked = {
  int(text, name) {
    const exact = whole(text, name);
    if (text.length > 400 || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) throw new Error(`${name} must be from -9223372036854775808 to 9223372036854775807.`);
    return exact;
  },
  integer: whole,
  float(text, name) {
    if (!text || Number.isNaN(Number(text))) throw new Error(`${name} must be a number, written with a point as 2.5.`);
    if (!Number.isFinite(Number(text))) throw new Error(`${name} is too large: at most 1.7976931348623157e308 can be stored.`);
    return JSON.stringify(Number(text));
  },
  number(text, name) {
    if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) throw new Error(`${name} must be a number, written with a point as 2.5.`);
    return text;
  },
  json(text, name) {
    try {
      JSON.parse(text);
    } catch (error) {
      throw new Error(`${name} must be a JSON document: ${error.message}`);
    }
    return text;
  },
};

// A number is sent as it was typed: JSON of a browser would round large ones.
function whole(text, name) {
  if (!/^-?\d+$/.test(text)) throw new Error(`${name} must be a whole number.`);
  return text.replace(/^(-?)0+(?=\d)/, "$1");
}

const named = (field) => h("span", { class: "rc-named" }, field.label, field.hint ? h("small", { class: field.part || field.type === "json" ? "rc-mono" : "" }, field.hint) : "");

// Of yes and no none is chosen before in an answer: nobody shall say yes by pressing Enter.
function choice(field, id) {
  const one = (value, text) => h("label", {}, h("input", { type: "radio", name: id, value, checked: field.value === (value === "true") }), text);
  const element = h("fieldset", { id, class: "rc-choice" }, h("legend", {}, named(field)), one("true", "Yes"), one("false", "No"));
  const chosen = () => element.querySelector(":checked")?.value;
  return {
    element,
    state: () => chosen() ?? "",
    text() {
      if (!chosen()) throw new Error(`Choose yes or no${field.part ? ` for "${field.label}"` : ""}.`);
      return chosen();
    },
  };
}

// One of a few texts; of none nothing is sent.
function select(field, id) {
  const options = [...(field.value === undefined ? [""] : []), ...field.choices];
  const input = h("select", { id, name: field.name }, options.map((one) => h("option", { selected: one === field.value, value: one }, one)));
  return { input, element: h("label", { for: id }, named(field), input), state: () => input.value, text: () => JSON.stringify(input.value) };
}

function line(field, id) {
  const first = field.value === undefined || field.value === null ? "" : String(field.value);
  const lines = { json: field.part ? Math.min(8, Math.max(2, first.split("\n").length)) : 10, text: 3 }[field.type];
  const input = lines
    ? h("textarea", { id, name: field.name, rows: lines, class: field.type === "json" ? "rc-mono" : "", spellcheck: "false", value: first })
    : h("input", { id, name: field.name, value: first, inputmode: { int: "numeric", float: "decimal" }[field.type], autocomplete: "off" });
  const check = checked[field.type];
  const name = field.part ? `"${field.label}"` : field.label;
  return {
    input,
    element: h("label", { for: id }, named(field), input),
    state: () => input.value,
    text: () => (check ? check(input.value.trim(), name) : JSON.stringify(input.value)),
  };
}

// A document: a field for each value in it, of which those that were changed are sent; or all of it as JSON.
function parted(field, id) {
  const whole = line({ ...field, hint: "" }, id);
  const place = h("div", { class: "rc-parts" });
  const turn = h("button", { type: "button", class: "rc-button rc-quiet", onclick: () => show(!asJson) });
  const element = h("div", { class: "rc-parted", role: "group", "aria-label": field.label }, turn, place);
  let parts = [];
  let asJson = false;
  function take(found) {
    parts = (found || []).map((part, index) => {
      const made = controlOf({ ...part, part: true }, `${id}-${index}`);
      const exact = typeof part.value === "string" && ["str", "text", "choice"].includes(part.type) ? JSON.stringify(part.value) : "";
      return { name: part.name, ...made, before: made.state(), told: part.value !== undefined, exact };
    });
    show(!parts.length);
  }
  function show(json) {
    try {
      if (json && changed().length) whole.input.value = together();
    } catch {
      // a field that cannot be read yet: the document stays as it was
    }
    asJson = json;
    turn.hidden = !parts.length;
    turn.textContent = json ? "Edit each value" : "Edit as JSON";
    fill(place, json ? [h("label", { for: id }, named(field), whole.input)] : parts.map((part) => part.element));
  }
  const isChanged = (part) => part.state() !== part.before;
  const changed = () => parts.filter(isChanged);
  // What was changed so far stands in the document, too. A field of several lines writes line ends anew, so what it had counts.
  function together() {
    const texts = parts.filter((part) => part.told || isChanged(part)).map((part) => `  ${JSON.stringify(part.name)}: ${(!isChanged(part) && part.exact) || part.text()}`);
    return `{\n${texts.join(",\n")}\n}`;
  }
  take(field.parts);
  return {
    element,
    input: whole.input,
    take,
    state: whole.state,
    text: () => (asJson ? whole.text() : `{${changed().map((part) => `${JSON.stringify(part.name)}:${part.text()}`).join()}}`),
  };
}

export function controlOf(field, id = `field-${field.name}`) {
  if (field.type === "bool") return choice(field, id);
  if (field.type === "choice") return select(field, id);
  if (field.type === "json" && !field.part) return parted(field, id);
  return line(field, id);
}

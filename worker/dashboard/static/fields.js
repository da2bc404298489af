// The fields of a form: each has an element, and tells what it holds as a text of JSON. Nothing is rounded on the way.

import { fill, h } from "./dom.js";

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

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
    if (!NUMBER.test(text)) throw new Error(`${name} must be a number, written with a point as 2.5.`);
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

// The values of a document by name, each as it is written: parsed, a large number would be another one.
function written(text, name) {
  checked.json(text, name);
  const found = new Map();
  let depth = 0;
  let key;
  let from;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/g)) {
    if (depth === 1 && key === undefined && token[0] === '"') key = JSON.parse(token);
    else if (depth === 1 && token === ":") from = index + 1;
    else if (depth === 1 && key !== undefined && (token === "," || token === "}")) {
      found.set(key, text.slice(from, index).trim());
      key = undefined;
    }
    depth += "{[".includes(token) - "}]".includes(token);
  }
  if (!text.trim().startsWith("{")) throw new Error(`${name} must be a document in braces, with a value for each name.`);
  return found;
}

const plain = {
  integer: (_, text) => /^-?\d+$/.test(text),
  number: (_, text) => NUMBER.test(text),
  bool: (value) => typeof value === "boolean",
  str: (value) => typeof value === "string",
  text: (value) => typeof value === "string",
  choice: (value, _, { choices }) => choices.includes(value),
};

// A field with another value in it: of its type if the value is one of it, else of JSON, as the server makes them.
function holding(field, text) {
  const value = JSON.parse(text);
  if (!plain[field.type]?.(value, text, field)) return { ...field, type: "json", value: text.replace(/\n {2}/g, "\n") };
  if (["integer", "number"].includes(field.type)) return { ...field, value: text };
  return { ...field, value, type: field.type === "str" && /[\r\n]/.test(value) ? "text" : field.type };
}

// A document: a field for each value in it, of which those that were changed are sent; or all of it as JSON.
function parted(field, id) {
  const whole = line({ ...field, hint: "" }, id);
  const place = h("div", { class: "rc-parts" });
  const told = h("p", { class: "rc-red", role: "alert" });
  const turn = h("button", { type: "button", class: "rc-button rc-quiet", onclick: turned });
  const element = h("div", { class: "rc-parted", role: "group", "aria-label": field.label }, turn, place, told);
  let parts = [];
  let opened = ""; // the document when the form was opened, what it held,
  let first = new Map();
  let left = first; // and what it held when it was last turned into JSON
  let asJson = false;
  // What a field was filled with counts as long as nobody touches it: a field of several lines writes line ends anew.
  function filled(own, index, text, given = own) {
    const made = controlOf({ ...given, part: true }, `${id}-${index}`);
    const before = made.state();
    const touched = () => made.state() !== before;
    return { own, element: made.element, text: () => (touched() ? made.text() : text), changed: () => touched() || text !== first.get(own.name) };
  }
  function take(found) {
    try {
      opened = whole.input.value;
      first = written(opened, field.label);
      parts = (found || []).map((own, index) => filled(own, index, first.get(own.name)));
    } catch {
      parts = []; // none of ours: all of it as it is
    }
    show(!parts.length);
  }
  // What was typed goes along, or nothing is turned: the reason says what to mend.
  function turned() {
    fill(told);
    try {
      if (asJson) read();
      else write();
      show(!asJson);
    } catch (error) {
      fill(told, error.message);
    }
  }
  function write() {
    const texts = parts.map((part) => [part.own.name, part.text()]).filter(([, text]) => text !== undefined);
    whole.input.value = !parts.some((part) => part.changed()) ? opened : `{\n${texts.map(([name, text]) => `  ${JSON.stringify(name)}: ${text}`).join(",\n")}\n}`;
    left = written(whole.input.value, field.label);
  }
  function read() {
    const now = written(whole.input.value, field.label);
    const strange = [...now.keys()].find((name) => !parts.some((part) => part.own.name === name));
    if (strange !== undefined) throw new Error(`There is no input ${JSON.stringify(strange)}.`);
    parts = parts.map((part, index) => {
      const { own } = part;
      const text = now.get(own.name);
      if (text === left.get(own.name)) return part;
      return text === undefined ? filled(own, index, first.get(own.name)) : filled(own, index, text, holding(own, text));
    });
  }
  function show(json) {
    asJson = json;
    turn.hidden = !parts.length;
    turn.textContent = json ? "Edit each value" : "Edit as JSON";
    fill(place, json ? [h("label", { for: id }, named(field), whole.input)] : parts.map((part) => part.element));
  }
  take(field.parts);
  return {
    element,
    input: whole.input,
    take,
    state: whole.state,
    text: () => (asJson ? whole.text() : `{${parts.filter((part) => part.changed()).map((part) => `${JSON.stringify(part.own.name)}:${part.text()}`).join()}}`),
  };
}

export function controlOf(field, id = `field-${field.name}`) {
  if (field.type === "bool") return choice(field, id);
  if (field.type === "choice") return select(field, id);
  if (field.type === "json" && !field.part) return parted(field, id);
  return line(field, id);
}

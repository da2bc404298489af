// Builds elements. Every text of a user goes through textContent, so none is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

// Written out, not obeyed, as on the command line: what nobody sees may turn the direction of what stands beside it.
const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0]/gu;
const written = (one) => {
  const code = one.codePointAt(0).toString(16);
  return code.length > 4 ? `\\U${code.padStart(8, "0")}` : code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
};
export const visible = (text) => String(text).replace(UNSEEN, written);

export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : name === "title" || name.startsWith("aria-") ? visible(value) : String(value));
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

// A sentence of ours, in which commands stand between backticks.
export const coded = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? h("code", {}, part) : part));

const opened = new Set(); // long texts that a person opened, over the looks

// A long text is cut to some lines, with a button that shows all of it.
export function clamp(key, element, most = 400) {
  const text = element.textContent;
  if (text.length <= most && text.split("\n").length <= 8 && element.querySelectorAll("p, li, tr, pre").length <= 8) return element;
  const button = h("button", { type: "button", class: "rc-button rc-quiet", onclick: () => (opened.delete(key) || opened.add(key), show()) });
  function show() {
    const all = opened.has(key);
    element.classList.toggle("rc-clamp", !all);
    button.setAttribute("aria-expanded", String(all));
    button.textContent = all ? "Show less" : "Show all";
  }
  show();
  return [element, button];
}

const ALLOWED = new Set("p h3 h4 h5 h6 ul ol li blockquote em strong s a hr br code pre table thead tbody tr th td span".split(" "));

// Markdown as the server has read it: a tree of texts and of these elements, and of nothing else.
export function prose(tree, depth = 0) {
  return tree.map((one) => {
    if (typeof one === "string") return one;
    const link = one.tag === "a" && /^(https?:\/\/|mailto:)/i.test(one.href || "");
    const tag = ALLOWED.has(one.tag) && (one.tag !== "a" || link) ? one.tag : "span";
    return h(tag, link ? { href: one.href, rel: "noopener noreferrer nofollow", target: "_blank" } : {}, depth < 40 ? prose(one.children, depth + 1) : "");
  });
}

// Fills an element anew. The keyboard stays where it was: on what says the same now, else on the first thing there is.
// So does the eye: what was scrolled in a box, as a log that grows, is still seen there.
export function fill(element, ...children) {
  const active = document.activeElement;
  const inside = active !== element && element.contains(active);
  const [sign, at] = inside ? placeOf(element, active) : [];
  const scrolled = boxes(element).map((one) => [signOf(one), one.scrollTop]);
  element.replaceChildren();
  add(element, children);
  for (const box of boxes(element)) box.scrollTop = scrolled.find(([name]) => name === signOf(box))?.[1] || 0;
  if (inside) {
    const all = focusable(element);
    const same = all.filter((one) => signOf(one) === sign);
    (same[at] || same[0] || all[0] || document.getElementById("main-content")).focus({ preventScroll: true });
  }
  return element;
}

const boxes = (element) => [...element.querySelectorAll(".rc-pre")];
const focusable = (element) => [...element.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")];
const signOf = (one) => `${one.tagName} ${one.getAttribute("href") || one.getAttribute("aria-label") || one.textContent}`;

function placeOf(element, active) {
  const sign = signOf(active);
  return [sign, focusable(element).filter((one) => signOf(one) === sign).indexOf(active)];
}

export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "rc-icon");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const CHEVRON = "M6 3.5 10.5 8 6 12.5";
export const BACK = "M10 3.5 5.5 8 10 12.5";

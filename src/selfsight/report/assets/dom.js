"use strict";
// Elements, data and figures. Everything in the data was written by models or strangers: it becomes a text node or one
// of the few attributes below, and never markup.

const SVG = "http://www.w3.org/2000/svg";
const ATTRIBUTES = new Set([
  "class", "id", "for", "type", "value", "title", "role", "tabindex", "open", "disabled", "placeholder", "min", "max",
  "step", "checked", "selected", "scope", "width", "height", "alt", "loading", "decoding", "dir",
]);
const DRAWN = new Set([
  "class", "viewBox", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "width", "height", "d", "points",
  "text-anchor", "role", "tabindex", "transform", "preserveAspectRatio",
]);

function furnish(made, known, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (known.has(name) || name.startsWith("aria-")) made.setAttribute(name, value === true ? "" : String(value));
    else throw new Error(`the attribute ${name} is not used here`);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// element("p", {class: "quiet", click: f}, "text", anotherElement): strings become text nodes.
function element(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), ATTRIBUTES, attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), DRAWN, attributes, children);
}

// A link to another place in this page; `place` and the values of `query` are encoded here.
function link(place, query, attributes, ...children) {
  const made = element("a", attributes, ...children);
  made.setAttribute("href", address(place, query));
  return made;
}

function address(place, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return `#${place}${text ? `?${text}` : ""}`;
}

// What a model or a stranger wrote, kept apart from the direction of the text around it.
function said(text, attributes = {}) {
  return element("bdi", attributes, text);
}

const parsed = new Map();

// A block of data, parsed when it is first needed; null when the report has none of that name.
function data(name) {
  if (!parsed.has(name)) {
    const block = document.getElementById(`data-${name}`);
    parsed.set(name, block === null ? null : JSON.parse(block.textContent));
  }
  return parsed.get(name);
}

// Told of a piece that is not here yet. A report holds all of them; a live page fetches those it shows.
let whenAbsent = () => {};

// The details of number `place`, which lie in pieces; null while their piece is absent.
function detail(name, place, size) {
  const piece = `${name}-${Math.floor(place / size)}`;
  const found = data(piece);
  if (found !== null) return found[place % size];
  whenAbsent(piece);
  return null;
}

const unopened = new Set();

// The picture of an image's number. Its pixels are decoded, in a live page asked for, when it comes into view.
function picture(number, attributes = {}) {
  const album = data("album");
  const [place, name] = album.images[number];
  const asked = typeof place === "string";
  if (place < 0 || unopened.has(place)) return noPicture(name);
  const [width, height, bytes] = asked ? [null, null, null] : detail("pictures", place, album.piece);
  const made = element("img", { width, height, alt: `image ${name}`, loading: "lazy", decoding: "async",
    error: () => { unopened.add(place); made.replaceWith(noPicture(name)); }, ...attributes });
  made.src = asked ? `picture/${place}` : `data:image/webp;base64,${bytes}`;
  return made;
}

function noPicture(name) {
  return element("span", { class: "missing", role: "img", "aria-label": `${name} is missing` }, "no image");
}

// Puts `fresh` into `parent`; what is there already and has not changed stays as it is.
function renew(parent, fresh) {
  const before = [...parent.children];
  const kept = fresh.filter((made) => made).map((made) => before.find((old) => old.isEqualNode(made)) ?? made);
  for (const old of before) if (!kept.includes(old)) old.remove();
  kept.forEach((each, i) => { if (parent.children[i] !== each) parent.insertBefore(each, parent.children[i] ?? null); });
}

const MINUS = "\u2212";
const DASH = "\u2013";

function plain(value, digits = 3) {
  if (value === null || value === undefined) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("-", MINUS);
  const text = size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
  return text.replace("-", MINUS);
}

function percent(value, digits = 1) {
  return value === null || value === undefined ? DASH : `${(value * 100).toFixed(digits)} %`.replace("-", MINUS);
}

function figure(value, form) {
  return form === "share" ? percent(value) : plain(value);
}

function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// A labelled choice. `options` are [value, text]; `chosen` is told of the new value.
function choice(label, options, value, chosen) {
  const made = element("select", { change: () => chosen(made.value) },
    options.map(([option, text]) => element("option", { value: option }, text)));
  made.value = value;
  if (made.selectedIndex < 0) made.selectedIndex = 0;
  return element("label", { class: "field" }, element("span", {}, label), made);
}

const THEMES = ["", "light", "dark"];

// The colours of the page: as the system has them, light, or dark; a button goes through them.
function applyTheme(number) {
  document.documentElement.style.colorScheme = THEMES[number];
  const button = document.getElementById("theme");
  button.textContent = ["Auto", "Light", "Dark"][number];
  button.setAttribute("aria-label", `Colours: ${["as the system", "light", "dark"][number]}. Change`);
  button.onclick = () => applyTheme((number + 1) % THEMES.length);
}

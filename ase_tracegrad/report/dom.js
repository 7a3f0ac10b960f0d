"use strict";
// Elements, numbers and tables. Text only ever enters the page as text nodes and attributes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function make(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function makeButton(text, label, act) {
  const button = make("button", { type: "button", "aria-label": label, title: label }, text);
  button.addEventListener("click", act);
  return button;
}

function makeSelect(label, options, act) {
  const select = make("select", {}, ...options.map((text, index) => make("option", { value: index }, text)));
  select.addEventListener("change", () => act(Number(select.value)));
  return make("label", {}, label + " ", select);
}

function makeSection(title, ...children) {
  const id = "section-" + title.toLowerCase().replace(/[^a-z]+/g, "-");
  return make("section", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
}

function makeDetails(summary, ...children) {
  return make("details", {}, make("summary", {}, summary), ...children);
}

// Rows of texts and numbers; what is a number stands right. The first cell of a row is its heading.
function makeTable(caption, heads, rows, digits = 4) {
  const isNumber = (value) => typeof value === "number";
  const numeric = heads.map((_, column) => rows.length > 0 && rows.every((row) => row[column] === null || isNumber(row[column])));
  const digitsOf = heads.map((_, column) => (rows.every((row) => row[column] === null || Number.isInteger(row[column])) ? 0 : digits));
  const cell = (value, column) => {
    const kind = numeric[column] ? "number" : null;
    const text = value === null || value === undefined ? "–" : isNumber(value) ? writeNumber(value, digitsOf[column]) : value;
    return column === 0 ? make("th", { scope: "row", class: kind }, text) : make("td", { class: kind }, text);
  };
  const head = make("tr", {}, ...heads.map((text, column) => make("th", { scope: "col", class: numeric[column] ? "number" : null }, text)));
  const body = rows.map((row) => make("tr", {}, ...row.map(cell)));
  const table = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "table", tabindex: 0, role: "region", "aria-label": caption }, table);
}

function makeFacts(rows, kind = "") {
  return make("dl", { class: "facts " + kind }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function makeLegend(entries) {
  const swatch = (color) => makeSvg("svg", { viewBox: "0 0 14 7", "aria-hidden": "true" }, makeSvg("rect", { width: 14, height: 7, fill: color, class: color ? null : "total" }));
  return make("ul", { class: "legend" }, ...entries.map(({ name, color }) => make("li", {}, swatch(color), name)));
}

// A number with so many digits after the point, a true minus, and no minus before zero.
function writeNumber(value, digits = 4) {
  return (Number(value.toFixed(digits)) + 0).toFixed(digits).replace("-", "−");
}

function writeVector(values, digits = 4) {
  return "(" + values.map((value) => writeNumber(value, digits)).join(", ") + ")";
}

// A button that saves columns as a csv file; made in the browser, nothing is fetched.
function makeDownload(text, file, makeRows) {
  return makeButton(text, `Download ${file}`, () => {
    const quote = (cell) => (/[",\n]/.test(String(cell)) ? '"' + String(cell).replace(/"/g, '""') + '"' : cell ?? "");
    const content = makeRows().map((row) => row.map(quote).join(",")).join("\n") + "\n";
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type: "text/csv" })), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function readData() {
  return JSON.parse(document.getElementById("data").textContent);
}

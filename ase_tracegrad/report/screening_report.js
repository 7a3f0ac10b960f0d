// The page of a screening. The data are what report/screening.py collects: columns, and bands of some rows.

const PAGE = 50; // rows of the table shown at once
const COLLATOR = new Intl.Collator("en", { numeric: true }); // x2 before x10
const CROWD = 5000; // dots from which on they are small squares

class Screening {
  constructor({ count, columns, bands }) {
    Object.assign(this, { count, columns, bands, page: 0, chosen: null, sorted: { column: -1, down: false } }); // as they came
    const isNumber = (value) => value === null || typeof value === "number";
    this.numeric = columns.filter(({ values }) => values.every(isNumber) && values.some((value) => value !== null));
    this.digits = columns.map(({ values }) => (values.every((value) => value === null || Number.isInteger(value)) ? 0 : 3));
    this.names = this.column("name")?.values;
    this.kept = Array.from({ length: count }, (_, row) => row);
    this.status = make("p", { role: "status", "aria-live": "polite" });
    this.tableBox = make("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Structures" });
    this.bandsBox = make("section", { id: "chosen", "aria-label": "Bands of the chosen structure" });
  }

  column(key) {
    return this.columns.find((column) => column.key === key);
  }

  draw() {
    const main = document.getElementById("report");
    const gaps = (this.column("gap")?.values || []).filter((value) => typeof value === "number");
    const flagged = (this.column("flags")?.values || []).filter(Boolean).length;
    const facts = [["Structures", String(this.count)], ["With flags", String(flagged)], ["With bands", String(Object.keys(this.bands).length)]];
    if (gaps.length) facts.push(["Gaps", `${writeNumber(least(gaps), 3)} to ${writeNumber(-least(gaps.map((gap) => -gap)), 3)} eV`]);
    main.append(makeFacts(facts));
    if (!this.count) return;
    main.append(makeSection("Filter", this.makeFilters(), this.status));
    if (this.numeric.length) main.append(makeSection("One quantity against another", this.makeScatter()));
    main.append(this.bandsBox, makeSection("Structures", this.makePager(), this.tableBox));
    this.filter();
  }

  // -- filter and sort ---------------------------------------------------------------------------

  makeFilters() {
    const input = (type, label, key) => {
      const field = make("input", { type, step: "any" });
      field.addEventListener("input", () => {
        this.wanted[key] = type === "checkbox" ? field.checked : field.value;
        this.filter();
      });
      return make("label", {}, label + " ", field);
    };
    this.wanted = { text: "", from: "", to: "", clean: false };
    const parts = [input("search", "Name, formula or flag holds", "text")];
    if (this.column("gap")) parts.push(input("number", "gap from", "from"), input("number", "to (eV)", "to"));
    if (this.column("flags")) parts.push(input("checkbox", "without flags only", "clean"));
    parts.push(makeDownload("Kept rows as CSV", "screening.csv", () => this.listRows()));
    return make("div", { class: "tools" }, ...parts);
  }

  filter() {
    const { text, from, to, clean } = this.wanted;
    const texts = this.columns.filter(({ key }) => ["name", "formula", "flags"].includes(key));
    const [gaps, flags, word] = [this.column("gap")?.values, this.column("flags")?.values, text.toLowerCase()];
    const keeps = (row) =>
      (!word || texts.some(({ values }) => String(values[row] ?? "").toLowerCase().includes(word))) &&
      (from === "" || (gaps[row] !== null && gaps[row] >= Number(from))) &&
      (to === "" || (gaps[row] !== null && gaps[row] <= Number(to))) &&
      (!clean || !flags[row]);
    this.kept = Array.from({ length: this.count }, (_, row) => row).filter(keeps);
    this.sort();
    this.status.textContent = `${this.kept.length} of ${this.count} structures`;
    if (this.scatterBox) this.drawScatter();
  }

  sort() {
    this.page = 0;
    if (this.sorted.column >= 0) this.kept.sort(this.makeOrder());
    this.drawTable();
  }

  makeOrder() {
    const { values } = this.columns[this.sorted.column];
    const sign = this.sorted.down ? -1 : 1;
    // What is empty comes last in either direction.
    return (a, b) => {
      const [first, second] = [values[a], values[b]];
      if (first === null || second === null) return (first === null) - (second === null) || a - b;
      const order = typeof first === "number" && typeof second === "number" ? first - second : COLLATOR.compare(first, second);
      return sign * order || a - b;
    };
  }

  // -- table ---------------------------------------------------------------------------------------

  makePager() {
    this.place = make("span", {});
    const turn = (step) => {
      this.page = Math.min(Math.max(this.page + step, 0), Math.max(0, Math.ceil(this.kept.length / PAGE) - 1));
      this.drawTable();
    };
    return make("div", { class: "tools" }, makeButton("←", "Previous page", () => turn(-1)), this.place, makeButton("→", "Next page", () => turn(1)));
  }

  drawTable() {
    const heads = this.columns.map(({ label }, index) => {
      const here = this.sorted.column === index;
      const button = makeButton(label + (here ? (this.sorted.down ? " ↓" : " ↑") : ""), `Sort by ${label}`, () => {
        this.sorted = { column: index, down: here && !this.sorted.down };
        this.sort();
        this.tableBox.querySelectorAll("th button")[index].focus();
      });
      const kind = this.numeric.includes(this.columns[index]) ? "number" : null;
      return make("th", { scope: "col", class: kind, "aria-sort": here ? (this.sorted.down ? "descending" : "ascending") : "none" }, button);
    });
    const rows = this.kept.slice(this.page * PAGE, (this.page + 1) * PAGE).map((row) => this.makeRow(row));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
    this.tableBox.replaceChildren(table);
    const pages = Math.max(1, Math.ceil(this.kept.length / PAGE));
    this.place.textContent = `page ${this.page + 1} of ${pages}`;
  }

  makeRow(row) {
    const cells = this.columns.map((column, index) => {
      const value = column.values[row];
      const text = value === null ? "–" : typeof value === "number" ? writeNumber(value, this.digits[index]) : typeof value === "boolean" ? (value ? "yes" : "no") : value;
      if (column.key !== "name") return make("td", { class: this.numeric.includes(column) ? "number" : null }, text);
      const shown = this.bands[row] ? makeButton(text, `Show the bands of ${text}`, () => this.choose(row)) : text;
      return make("th", { scope: "row" }, shown);
    });
    return make("tr", { class: row === this.chosen ? "chosen" : null }, ...cells);
  }

  choose(row) {
    this.chosen = row;
    this.drawTable();
    if (this.scatterBox) this.markChosen();
    if (!this.bands[row]) {
      this.bandsBox.replaceChildren(make("p", { role: "status" }, `${this.names[row]}: no bands are stored.`));
      return;
    }
    const view = new BandView(this.bands[row], null, String(this.names[row]).replace(/[^A-Za-z0-9._-]+/g, "-"));
    const heading = make("h2", { tabindex: -1 }, `Bands of ${this.names[row]}`);
    this.bandsBox.replaceChildren(heading, view.element, makeDetails("Energies as a table", view.makeTable()));
    heading.focus();
  }

  listRows() {
    return [this.columns.map(({ label }) => label), ...this.kept.map((row) => this.columns.map(({ values }) => values[row]))];
  }

  // -- scatter -------------------------------------------------------------------------------------

  makeScatter() {
    const labels = this.numeric.map(({ label }) => label);
    this.shown = [0, Math.min(1, labels.length - 1)];
    const select = (name, index) => {
      const chosen = makeSelect(name, labels, (value) => {
        this.shown[index] = value;
        this.drawScatter();
      });
      chosen.querySelector("select").value = this.shown[index];
      return chosen;
    };
    this.scatterBox = make("figure", {});
    this.pointed = make("p", { class: "readout", role: "status", "aria-live": "polite" }, "Point at a dot; click it, or press Enter, to see its bands.");
    return make("div", {}, make("div", { class: "tools" }, select("across", 0), select("up", 1)), this.scatterBox, this.pointed);
  }

  drawScatter() {
    const [xs, ys] = this.shown.map((index) => this.numeric[index]);
    this.points = this.kept.filter((row) => xs.values[row] !== null && ys.values[row] !== null);
    this.points.sort((a, b) => xs.values[a] - xs.values[b] || ys.values[a] - ys.values[b]);
    const axis = (column) => {
      const values = this.points.map((row) => column.values[row]);
      const [low, high] = values.length ? [least(values), -least(values.map((value) => -value))] : [0, 1];
      const margin = 0.05 * (high - low || 1);
      return { low: low - margin, high: high + margin, label: column.label };
    };
    const chart = new Chart({
      x: axis(xs),
      y: axis(ys),
      height: 380,
      describe: `${ys.label} against ${xs.label}, ${this.points.length} dots. Left and right step from dot to dot, Enter opens the bands.`,
      onMove: (x, y) => this.point(this.nearestPoint(x, y)),
      onPick: (x, y) => this.pick(this.nearestPoint(x, y)),
      onKey: (key) => this.stepPoint(key),
    });
    // Dots lie on a canvas behind the chart: a hundred thousand elements of SVG would take seconds to draw.
    const canvas = make("canvas", { class: "dots", "aria-hidden": "true" });
    chart.onDraw = () => {
      this.paintDots(canvas);
      this.markChosen();
    };
    this.chart = chart;
    this.scatterBox.replaceChildren(make("div", { class: "tools" }, ...chart.tools()), make("div", { class: "layers" }, canvas, chart.svg));
  }

  paintDots(canvas) {
    const { chart, points } = this;
    const [xs, ys] = this.shown.map((index) => this.numeric[index].values);
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(chart.width * ratio), Math.round(chart.height * ratio)];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.beginPath();
    pen.rect(chart.left, MARGIN.top, chart.plotWidth, chart.plotHeight);
    pen.clip();
    pen.fillStyle = getComputedStyle(canvas).color;
    pen.globalAlpha = 0.55;
    const size = points.length > CROWD ? 3 : 6;
    for (const row of points) {
      const [x, y] = chart.toPixel(xs[row], ys[row]);
      if (size === 3) {
        pen.fillRect(x - size / 2, y - size / 2, size, size);
      } else {
        pen.beginPath();
        pen.arc(x, y, size / 2, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }

  nearestPoint(x, y) {
    const [px, py] = this.chart.toPixel(x, y);
    const [xs, ys] = this.shown.map((index) => this.numeric[index].values);
    let [best, distance] = [null, 25];
    this.points.forEach((row, index) => {
      const [qx, qy] = this.chart.toPixel(xs[row], ys[row]);
      const far = Math.hypot(px - qx, py - qy);
      if (far < distance) [best, distance] = [index, far];
    });
    return best;
  }

  stepPoint(key) {
    if (key === "Enter") this.pick(this.at ?? null);
    else if (key === "ArrowRight" || key === "ArrowDown") this.point(Math.min((this.at ?? -1) + 1, this.points.length - 1));
    else if (key === "ArrowLeft" || key === "ArrowUp") this.point(Math.max((this.at ?? 1) - 1, 0));
    else return false;
    return true;
  }

  point(index) {
    if (index === null || index < 0) return;
    this.at = index;
    const row = this.points[index];
    const values = this.shown.map((column) => `${this.numeric[column].label} ${writeNumber(this.numeric[column].values[row], 3)}`);
    this.pointed.textContent = `${this.names[row]}: ${[...new Set(values)].join(", ")}`;
    this.markChosen();
  }

  pick(index) {
    if (index !== null && index >= 0) this.choose(this.points[index]);
  }

  markChosen() {
    const [xs, ys] = this.shown.map((index) => this.numeric[index].values);
    const rows = [this.chosen, this.at === undefined ? null : this.points[this.at]].filter((row) => row !== null && row !== undefined && xs[row] !== null && ys[row] !== null);
    this.chart.overlay.replaceChildren(...rows.map((row) => {
      const [cx, cy] = this.chart.toPixel(xs[row], ys[row]);
      return makeSvg("circle", { class: "mark", cx, cy, r: 5 });
    }));
  }
}

// The least of many numbers; Math.min(...numbers) has a limit.
function least(numbers) {
  return numbers.reduce((a, b) => Math.min(a, b), Infinity);
}

new Screening(readData()).draw();

// Bands and density of states on one energy axis. What the cursor is on is written below, for eyes and screen readers.

const RIBBON = 0.15; // eV; half the height of a band that is one group's entirely
const SHOWN_SHARES = 4;
const DEGENERATE = 1e-3; // eV; levels of a molecule nearer than this stand side by side

class BandView {
  // bands, dos: as report/bands.py describes them, dos may be null; file: begins the names of downloads.
  constructor(bands, dos, file) {
    Object.assign(this, { bands, dos });
    this.molecule = bands.x.length === 1;
    this.zero = `E − ${bands.zeroName} (eV)`;
    this.readout = make("p", { class: "readout", role: "status", "aria-live": "polite" }, `Point at a ${this.molecule ? "level" : "band"}, or press the arrow keys.`);
    this.chart = this.makeBandChart();
    const charts = [make("figure", {}, this.chart.svg)];
    if (dos) {
      this.dosChart = this.makeDosChart();
      this.chart.link(this.dosChart);
      charts.push(make("figure", {}, this.dosChart.svg));
    }
    const colors = bands.groups.length
      ? [makeSelect("Thickness by share of", ["none", ...bands.groups.map((group) => group.name)], (index) => this.showShares(index - 1))]
      : [];
    this.element = make(
      "div",
      {},
      make("div", { class: "tools" }, ...this.chart.tools(), ...colors, makeDownload(this.molecule ? "Levels as CSV" : "Bands as CSV", `${file}-bands.csv`, () => this.listBands()),
        dos ? makeDownload("DOS as CSV", `${file}-dos.csv`, () => this.listDos()) : null),
      make("p", { class: "hint" }, "Drag to move, + and − to zoom (or the wheel after a click), 0 to reset, shift and arrows to move. " +
        (this.molecule ? "Arrow keys step from level to level." : "Arrow keys step along the path and from band to band, Page Up and Page Down to the special points.")),
      make("div", { class: dos ? "bands" : "" }, ...charts),
      dos ? makeLegend([{ name: "total", color: null }, ...dos.groups]) : null,
      this.readout,
    );
  }

  makeBandChart() {
    const { bands } = this;
    const ends = this.molecule ? [-0.5, 0.5] : [bands.x[0], bands.x[bands.x.length - 1]];
    const what = this.molecule ? "Levels" : `Bands along ${bands.ticks.map((tick) => tick.label).join(", ")}`;
    const chart = new Chart({
      x: { low: ends[0], high: ends[1], fixed: this.molecule, ticks: this.molecule ? [] : bands.ticks, label: this.molecule ? "levels" : "" },
      y: { low: bands.window[0], high: bands.window[1], label: this.zero },
      describe: `${what}, energies from the ${bands.zeroName} in eV. Arrow keys read them off; plus and minus zoom.`,
      onMove: (x, y) => this.moveTo(x, y),
      onKey: (key) => this.step(key),
    });
    this.ribbons = makeSvg("g", {});
    this.places = this.molecule ? placeLevels(bands.energies.map(([energy]) => energy)) : null;
    const curves = bands.energies.map((energies, band) => {
      const [xs, ys] = this.molecule ? [this.places[band], [energies[0], energies[0]]] : [bands.x, energies];
      return makeSvg("path", { class: this.molecule ? "curve level" : "curve", d: tracePath(xs, ys, bands.breaks) });
    });
    chart.content.append(this.ribbons, ...curves);
    chart.onDraw = () => this.drawCursor();
    return chart;
  }

  makeDosChart() {
    const { bands, dos } = this;
    const inside = dos.total.filter((_, index) => dos.energies[index] >= bands.window[0] && dos.energies[index] <= bands.window[1]);
    const chart = new Chart({
      x: { low: 0, high: 1.08 * Math.max(...inside, 1e-6), fixed: true, label: this.molecule ? "states / eV" : "states / (eV cell)" },
      y: { low: bands.window[0], high: bands.window[1], label: "" },
      describe: `Density of states, energies from the ${bands.zeroName} in eV. Up and down read it off.`,
      onMove: (_, y) => this.readDos(y),
      onKey: (key) => ["ArrowUp", "ArrowDown"].includes(key) && (this.readDos((this.energy ?? 0) + (key === "ArrowUp" ? 1 : -1) * 0.05), true),
    });
    const filled = dos.energies.filter((energy) => energy <= bands.fermi).length;
    const area = tracePath([0, ...dos.total.slice(0, filled), 0], [dos.energies[0], ...dos.energies.slice(0, filled), dos.energies[Math.max(0, filled - 1)]]);
    const curve = (weights, color) => {
      const path = makeSvg("path", { class: color ? "curve" : "curve total", d: tracePath(weights, dos.energies) });
      if (color) path.style.stroke = color;
      return path;
    };
    chart.content.append(makeSvg("path", { class: "area", d: area + "Z" }), ...dos.groups.map((group) => curve(group.weights, group.color)), curve(dos.total, null));
    chart.onDraw = () => this.drawCursor();
    return chart;
  }

  // Each band as thick as the share of one group of orbitals in its states; -1: none.
  showShares(chosen) {
    this.ribbons.replaceChildren();
    if (chosen < 0) return;
    const { bands } = this;
    const group = bands.groups[chosen];
    bands.energies.forEach((energies, band) => {
      const half = group.shares[band].map((share) => (RIBBON * share) / 1000);
      const [xs, es, hs] = this.molecule ? [this.places[band], [energies[0], energies[0]], [half[0], half[0]]] : [bands.x, energies, half];
      const starts = [0, ...bands.breaks, xs.length];
      for (let piece = 0; piece + 1 < starts.length; piece += 1) {
        const at = xs.map((_, index) => index).slice(starts[piece], starts[piece + 1]);
        const back = [...at].reverse();
        const outline = tracePath([...at, ...back].map((k) => xs[k]), [...at.map((k) => es[k] + hs[k]), ...back.map((k) => es[k] - hs[k])]);
        const ribbon = makeSvg("path", { class: "ribbon", d: outline + "Z" });
        ribbon.style.fill = group.color;
        this.ribbons.append(ribbon);
      }
    });
  }

  moveTo(x, y) {
    const { bands } = this;
    this.k = this.molecule ? 0 : nearest(bands.x, x);
    this.band = nearest(bands.energies.map((energies) => energies[this.k]), y);
    if (this.molecule) {
      const energy = bands.energies[this.band][0];
      const beside = bands.energies.findIndex(([other], band) => Math.abs(other - energy) < DEGENERATE && this.places[band][0] <= x && x <= this.places[band][1]);
      this.band = beside < 0 ? this.band : beside;
    }
    this.readBand();
  }

  step(key) {
    const { bands } = this;
    if (this.band === undefined) this.startAtTop();
    else if (key === "ArrowLeft") this.k = Math.max(0, this.k - 1);
    else if (key === "ArrowRight") this.k = Math.min(bands.x.length - 1, this.k + 1);
    else if (key === "ArrowUp") this.band = Math.min(bands.energies.length - 1, this.band + 1);
    else if (key === "ArrowDown") this.band = Math.max(0, this.band - 1);
    else if (key === "PageUp" || key === "PageDown") this.k = this.nextSpecial(key === "PageDown" ? 1 : -1);
    else return false;
    this.readBand();
    const [low, high] = this.chart.view.y;
    const outside = Math.max(0, this.energy - high) + Math.min(0, this.energy - low);
    if (outside) this.chart.pan(0, (outside + Math.sign(outside) * 0.1 * (high - low)) / (high - low));
    return true;
  }

  // The highest state at or below the energy zero.
  startAtTop() {
    let best = -Infinity;
    this.bands.energies.forEach((energies, band) => energies.forEach((energy, k) => {
      if (energy <= 1e-6 && energy > best) [best, this.k, this.band] = [energy, k, band];
    }));
    if (best === -Infinity) [this.k, this.band] = [0, 0];
  }

  nextSpecial(direction) {
    const places = this.bands.ticks.map((tick) => nearest(this.bands.x, tick.at)).filter((k) => (k - this.k) * direction > 0);
    return places.length ? (direction > 0 ? Math.min(...places) : Math.max(...places)) : this.k;
  }

  readBand() {
    const { bands, k, band } = this;
    this.energy = bands.energies[band][k];
    this.chart.cursor = [this.molecule ? 0 : bands.x[k], this.energy];
    const number = bands.numbers[band];
    const filling = bands.filled === null ? "" : number <= bands.filled ? ", filled" : ", empty";
    const spin = bands.spins === null ? "" : bands.spins[band] ? ", spin down" : ", spin up";
    const absolute = writeNumber(this.energy + bands.zero, 3);
    const shares = bands.groups.map((group) => [group.shares[band][k] / 10, group.name]).sort((a, b) => b[0] - a[0]);
    const listed = shares.slice(0, SHOWN_SHARES).filter(([share]) => share >= 1).map(([share, name]) => `${name} ${Math.round(share)} %`);
    this.readout.textContent = [
      this.molecule ? null : this.namePlace(k),
      `${this.zero.replace(" (eV)", "")} = ${writeNumber(this.energy, 3)} eV (absolute ${absolute} eV)`,
      `${this.molecule ? "level" : "band"} ${number}${filling}${spin}`,
      listed.join(", ") || null,
    ].filter(Boolean).join("; ");
    this.drawCursor();
  }

  namePlace(k) {
    const { bands } = this;
    const here = bands.ticks.find((tick) => Math.abs(tick.at - bands.x[k]) < 1e-6);
    const after = bands.ticks.findIndex((tick) => tick.at > bands.x[k]);
    const name = here ? here.label : after > 0 ? `${bands.ticks[after - 1].label} to ${bands.ticks[after].label}` : "path";
    return `${name}, k = ${writeVector(bands.kpts[k])}`;
  }

  readDos(energy) {
    const { dos } = this;
    const at = nearest(dos.energies, energy);
    this.energy = dos.energies[at];
    [this.k, this.band] = [undefined, undefined];
    this.chart.cursor = undefined;
    const parts = dos.groups.map((group) => `${group.name} ${writeNumber(group.weights[at], 3)}`).join(", ");
    this.readout.textContent = `${this.zero.replace(" (eV)", "")} = ${writeNumber(this.energy, 3)} eV; ` +
      `${writeNumber(dos.total[at], 3)} states per eV${this.molecule ? "" : " and cell"}: ${parts}`;
    this.drawCursor();
  }

  drawCursor() {
    for (const chart of [this.chart, this.dosChart]) {
      if (!chart) continue;
      const marks = [];
      if (this.energy !== undefined) {
        const [px, py] = chart.toPixel(this.band === undefined || this.molecule ? chart.view.x[0] : this.bands.x[this.k], this.energy);
        marks.push(makeSvg("line", { class: "cursor", x1: chart.left, x2: chart.left + chart.plotWidth, y1: py, y2: py }));
        if (chart === this.chart && this.band !== undefined && this.molecule) {
          const [left, right] = this.places[this.band].map((x) => chart.toPixel(x, this.energy)[0]);
          marks.push(makeSvg("circle", { class: "mark", cx: (left + right) / 2, cy: py, r: 5 }));
        } else if (chart === this.chart && this.band !== undefined) {
          marks.push(makeSvg("line", { class: "cursor", x1: px, x2: px, y1: MARGIN.top, y2: MARGIN.top + chart.plotHeight }));
          marks.push(makeSvg("circle", { class: "mark", cx: px, cy: py, r: 5 }));
        }
      }
      chart.overlay.replaceChildren(...marks);
    }
  }

  // Energies at the special points, of the bands nearest to the zero: what a table can hold of a picture.
  makeTable() {
    const { bands } = this;
    const ticks = this.molecule ? [{ at: bands.x[0], label: "energy" }] : bands.ticks;
    const distance = (energies) => Math.min(...energies.map(Math.abs));
    const chosen = bands.energies.map((energies, band) => [distance(energies), band]).sort((a, b) => a[0] - b[0]).slice(0, 12);
    const rows = chosen.map(([, band]) => band).sort((a, b) => b - a).map((band) => {
      const spin = bands.spins === null ? "" : bands.spins[band] ? " down" : " up";
      return [`${bands.numbers[band]}${spin}`, ...ticks.map((tick) => bands.energies[band][nearest(bands.x, tick.at)])];
    });
    const what = this.molecule ? "Levels" : "Bands at the special points";
    return makeTable(`${what} nearest to the ${bands.zeroName}: ${this.zero}`, [this.molecule ? "level" : "band", ...ticks.map((tick) => tick.label)], rows);
  }

  listBands() {
    const { bands } = this;
    const heads = ["path (1/Angstrom)", "k1", "k2", "k3", "band", ...(bands.spins ? ["spin"] : []), "energy (eV)", ...bands.groups.map((group) => "share of " + group.name)];
    const rows = bands.energies.flatMap((energies, band) => energies.map((energy, k) => [
      bands.x[k], ...bands.kpts[k], bands.numbers[band], ...(bands.spins ? [bands.spins[band]] : []), energy + bands.zero,
      ...bands.groups.map((group) => group.shares[band][k] / 1000)]));
    return [heads, ...rows];
  }

  listDos() {
    const { dos, bands } = this;
    const heads = ["energy (eV)", "DOS (states / (eV cell))", ...dos.groups.map((group) => group.name)];
    return [heads, ...dos.energies.map((energy, at) => [energy + bands.zero, dos.total[at], ...dos.groups.map((group) => group.weights[at])])];
  }
}

// Left and right end of each level of a molecule between -0.5 and 0.5; degenerate levels share the width.
function placeLevels(energies) {
  const groups = [];
  energies.forEach((energy, level) => {
    const last = groups[groups.length - 1];
    if (last && energy - energies[last[last.length - 1]] < DEGENERATE) last.push(level);
    else groups.push([level]);
  });
  return groups.flatMap((group) => group.map((_, n) => [(n + 0.08) / group.length - 0.5, (n + 0.92) / group.length - 0.5]));
}

// Index of the value nearest to `wanted`.
function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, index) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = index;
  });
  return best;
}

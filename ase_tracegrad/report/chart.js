// A chart in SVG that can be zoomed and moved. What is drawn lives in coordinates of the data, in chart.content;
// a transform shows the part in view, so that a zoom changes nothing but that transform and the ticks.

const MARGIN = { left: 58, right: 12, top: 12, bottom: 46 }; // left: at least, wider where the numbers are long
const DIGIT = 8; // pixels, as wide as one gets
const STEP = 1.4; // of one zoom
const NARROWEST = 1e-4; // of the whole width or height

class Chart {
  // x, y: {low, high, label, ticks: [{at, label}] or undefined for numbers, fixed: true if it is not to be zoomed}; height in
  // pixels; describe: what screen readers say of the chart; onMove(x, y), onKey(key, shift): where the pointer is, keys.
  constructor({ x, y, height = 440, describe, onMove, onKey, onLeave, onPick }) {
    Object.assign(this, { x, y, height, onMove, onKey, onLeave, onPick });
    this.home = { x: [x.low, x.high], y: [y.low, y.high] };
    this.view = { x: [...this.home.x], y: [...this.home.y] };
    this.linked = [];
    this.width = 600;
    this.left = MARGIN.left;
    const clip = "clip-" + Chart.count++;
    this.clip = makeSvg("rect", {});
    this.content = makeSvg("g", {});
    this.axes = makeSvg("g", { "aria-hidden": "true" });
    this.overlay = makeSvg("g", { "aria-hidden": "true" });
    this.svg = makeSvg(
      "svg",
      { class: "chart", height, tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": describe },
      makeSvg("clipPath", { id: clip }, this.clip),
      this.axes,
      makeSvg("g", { "clip-path": `url(#${clip})` }, this.content, this.overlay),
    );
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  tools() {
    return [
      makeButton("+", "Zoom in", () => this.zoom(1 / STEP)),
      makeButton("−", "Zoom out", () => this.zoom(STEP)),
      makeButton("Reset view", "Reset view", () => this.reset()),
    ];
  }

  // Charts that share the y axis show the same part of it.
  link(other) {
    this.linked.push(other);
    other.linked.push(this);
  }

  get plotWidth() {
    return Math.max(20, this.width - this.left - MARGIN.right);
  }

  get plotHeight() {
    return this.height - MARGIN.top - MARGIN.bottom;
  }

  toPixel(x, y) {
    const { view } = this;
    return [
      this.left + ((x - view.x[0]) / (view.x[1] - view.x[0])) * this.plotWidth,
      MARGIN.top + ((view.y[1] - y) / (view.y[1] - view.y[0])) * this.plotHeight,
    ];
  }

  toData(px, py) {
    const { view } = this;
    return [
      view.x[0] + ((px - this.left) / this.plotWidth) * (view.x[1] - view.x[0]),
      view.y[1] - ((py - MARGIN.top) / this.plotHeight) * (view.y[1] - view.y[0]),
    ];
  }

  zoom(factor, center = null) {
    for (const [index, name] of ["x", "y"].entries()) {
      if (this[name].fixed) continue;
      const [low, high] = this.view[name];
      const whole = this.home[name][1] - this.home[name][0];
      const span = Math.min(Math.max((high - low) * factor, NARROWEST * whole), 4 * whole);
      const at = center ? center[index] : (low + high) / 2;
      const share = (at - low) / (high - low);
      this.view[name] = [at - share * span, at + (1 - share) * span];
    }
    this.show();
  }

  pan(dx, dy) {
    for (const [name, shift] of [["x", dx], ["y", dy]]) {
      if (this[name].fixed) continue;
      const [low, high] = this.view[name];
      this.view[name] = [low + shift * (high - low), high + shift * (high - low)];
    }
    this.show();
  }

  reset() {
    this.view = { x: [...this.home.x], y: [...this.home.y] };
    this.show();
  }

  show() {
    for (const chart of this.linked) {
      chart.view.y = [...this.view.y];
      chart.draw();
    }
    this.draw();
  }

  draw() {
    this.width = this.svg.clientWidth || 600; // asked for once: the browser lays out the page to know it
    const longest = Math.max(0, ...this.ticksIn("y").map(({ label }) => label.length));
    this.left = Math.max(MARGIN.left, 28 + DIGIT * longest);
    const [x0, y0] = this.toPixel(0, 0);
    const sx = this.plotWidth / (this.view.x[1] - this.view.x[0]);
    const sy = this.plotHeight / (this.view.y[1] - this.view.y[0]);
    this.content.setAttribute("transform", `matrix(${sx} 0 0 ${-sy} ${x0} ${y0})`);
    const frame = { x: this.left, y: MARGIN.top, width: this.plotWidth, height: this.plotHeight };
    fill(this.clip, frame, []);
    this.axes.replaceChildren(...this.ticksOf("x"), ...this.ticksOf("y"), makeSvg("rect", { class: "axis", ...frame }), ...this.titles());
    if (this.onDraw) this.onDraw();
  }

  // What has a number or a name on this axis now.
  ticksIn(name) {
    const [low, high] = this.view[name];
    const fit = (size) => niceTicks(low, high, Math.max(2, Math.floor(size)));
    let ticks = this[name].ticks;
    if (!ticks && name === "y") ticks = fit(this.plotHeight / 70);
    if (!ticks) {
      ticks = fit(this.plotWidth / 70);
      const longest = Math.max(0, ...ticks.map(({ label }) => label.length));
      ticks = fit(this.plotWidth / Math.max(70, DIGIT * (longest + 2))); // small numbers are long: fewer of them
    }
    const slack = 1e-4 * (high - low); // numbers are rounded, and the last special point must not fall off
    return ticks.filter(({ at }) => at >= low - slack && at <= high + slack);
  }

  ticksOf(name) {
    const [right, bottom] = [this.left + this.plotWidth, MARGIN.top + this.plotHeight];
    return this.ticksIn(name)
      .flatMap(({ at, label }) => {
        const [px, py] = this.toPixel(at, at);
        const kind = at === 0 && name === "y" ? "zero" : "grid";
        return name === "x"
          ? [makeSvg("line", { class: kind, x1: px, x2: px, y1: MARGIN.top, y2: bottom }), makeSvg("text", { x: Math.min(px, this.width - (DIGIT / 2) * label.length), y: bottom + 18, "text-anchor": "middle" }, label)]
          : [makeSvg("line", { class: kind, x1: this.left, x2: right, y1: py, y2: py }), makeSvg("text", { x: this.left - 7, y: py + 4, "text-anchor": "end" }, label)];
      });
  }

  titles() {
    const middle = MARGIN.top + this.plotHeight / 2;
    return [
      makeSvg("text", { x: this.left + this.plotWidth / 2, y: this.height - 8, "text-anchor": "middle" }, this.x.label || ""),
      makeSvg("text", { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, this.y.label || ""),
    ];
  }

  // Pointer: move to read off, drag to move the view, double click to reset; the wheel zooms once the chart has the focus.
  listen() {
    const { svg } = this;
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      return this.toData(event.clientX - box.left, event.clientY - box.top);
    };
    let dragged = null;
    svg.addEventListener("pointerdown", (event) => {
      dragged = { x: event.clientX, y: event.clientY, moved: false };
    });
    svg.addEventListener("pointermove", (event) => {
      if (dragged && event.buttons) {
        const [dx, dy] = [event.clientX - dragged.x, event.clientY - dragged.y];
        if (!dragged.moved && Math.hypot(dx, dy) < 4) return;
        if (!dragged.moved) svg.setPointerCapture(event.pointerId);
        dragged = { x: event.clientX, y: event.clientY, moved: true };
        this.pan(-dx / this.plotWidth, dy / this.plotHeight);
      } else if (this.onMove) {
        this.onMove(...place(event));
      }
    });
    svg.addEventListener("pointerup", (event) => {
      if (dragged && !dragged.moved && this.onPick) this.onPick(...place(event));
      dragged = null;
    });
    svg.addEventListener("pointerleave", () => this.onLeave && this.onLeave());
    svg.addEventListener("dblclick", () => this.reset());
    svg.addEventListener("wheel", (event) => {
      if (document.activeElement !== svg) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1 / STEP : STEP, place(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoom(1 / STEP, this.cursor);
    else if (event.key === "-") this.zoom(STEP, this.cursor);
    else if (event.key === "0" || event.key === "Home") this.reset();
    else if (moves[event.key] && (event.shiftKey || !this.onKey)) this.pan(...moves[event.key]);
    else if (!this.onKey || !this.onKey(event.key)) return;
    event.preventDefault();
  }
}
Chart.count = 0;

// Round numbers from low to high, about `count` of them.
function niceTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n += 1) {
    ticks.push({ at: n * step, label: writeNumber(Number((n * step).toFixed(digits)), digits) });
  }
  return ticks;
}

// A path through points; pieces begin where `breaks` says.
function tracePath(xs, ys, breaks = []) {
  return xs.map((x, index) => (index === 0 || breaks.includes(index) ? "M" : "L") + `${x} ${ys[index]}`).join("");
}

// Points, lines and faces in space, seen in parallel projection and turned by mouse or keys. Drawn on a canvas, far to near.

const TURN = 0.12; // radians of one key press
const LIGHT = 0.35; // brightness added where the light meets a sphere

class Scene {
  // items: {faces: [[points]], lines: [{from, to, color, width, dash, border}], spheres: [{at, radius, color, name}],
  // texts: [{at, text}], fit: points that have to be in view, or all}; describe: for screen readers; turn: first rotation (3 rows); onPoint(sphere or null).
  constructor({ items, describe, turn, onPoint }) {
    Object.assign(this, { items, onPoint, first: turn });
    this.canvas = make("canvas", { class: "scene", tabindex: 0, role: "application", "aria-roledescription": "view in space", "aria-label": describe });
    this.listen();
    this.reset();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  tools() {
    return [
      makeButton("+", "Zoom in", () => this.scaleBy(1.25)),
      makeButton("−", "Zoom out", () => this.scaleBy(0.8)),
      makeButton("Reset view", "Reset view", () => this.reset()),
    ];
  }

  setItems(items) {
    this.items = items;
    this.draw();
  }

  reset() {
    this.turn = this.first.map((row) => [...row]);
    this.scale = 1;
    this.draw();
  }

  lookAlong(rows) {
    this.turn = rows;
    this.draw();
  }

  scaleBy(factor) {
    this.scale = Math.min(Math.max(this.scale * factor, 0.2), 20);
    this.draw();
  }

  // Turn about the axes of the screen.
  turnBy(aboutX, aboutY) {
    const [cx, sx, cy, sy] = [Math.cos(aboutX), Math.sin(aboutX), Math.cos(aboutY), Math.sin(aboutY)];
    this.turn = multiply(multiply([[1, 0, 0], [0, cx, -sx], [0, sx, cx]], [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]), this.turn);
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last && event.buttons) {
        this.turnBy(0.01 * (event.clientY - last[1]), 0.01 * (event.clientX - last[0]));
        last = [event.clientX, event.clientY];
      } else if (this.onPoint) {
        const box = canvas.getBoundingClientRect();
        this.onPoint(this.find(event.clientX - box.left, event.clientY - box.top));
      }
    });
    canvas.addEventListener("pointerup", () => {
      last = null;
    });
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return;
      event.preventDefault();
      this.scaleBy(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [0, -TURN], ArrowRight: [0, TURN], ArrowUp: [-TURN, 0], ArrowDown: [TURN, 0] };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (turns[event.key]) this.turnBy(...turns[event.key]);
      else if (event.key === "+" || event.key === "=") this.scaleBy(1.25);
      else if (event.key === "-") this.scaleBy(0.8);
      else if (event.key === "0" || event.key === "Home") this.reset();
      else return;
      event.preventDefault();
    });
  }

  // Everything in pixels, nearest last: {depth, paint}.
  draw() {
    const { canvas } = this;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
    if (!width) return;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    this.colors = Object.fromEntries(["ink", "faint", "line", "edge", "paper"].map((name) => [name, style.getPropertyValue("--" + name).trim()]));
    pen.font = `14px ${style.fontFamily}`;
    this.project = this.makeProjection(width, height);
    const parts = [...this.paintFaces(), ...this.paintLines(), ...this.paintSpheres()].sort((a, b) => a.depth - b.depth);
    parts.forEach(({ paint }) => paint(pen));
    this.paintTexts(pen);
  }

  makeProjection(width, height) {
    const { faces, lines, spheres, fit } = this.items;
    const points = fit || [...faces.flat(), ...lines.flatMap(({ from, to }) => [from, to])];
    const [low, high] = [0, 1, 2].map((axis) => points.map((point) => point[axis])).reduce(
      ([lows, highs], values) => [[...lows, values.reduce((a, b) => Math.min(a, b))], [...highs, values.reduce((a, b) => Math.max(a, b))]], [[], []]);
    const center = low.map((value, axis) => (value + high[axis]) / 2);
    const largest = spheres.reduce((radius, sphere) => Math.max(radius, sphere.radius), 0);
    const reach = points.reduce((far, point) => Math.max(far, Math.hypot(...point.map((value, axis) => value - center[axis]))), 1e-3) + largest;
    this.pixels = (this.scale * 0.46 * Math.min(width, height)) / reach;
    return (point) => {
      const moved = point.map((value, axis) => value - center[axis]);
      const [x, y, z] = this.turn.map((row) => row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2]);
      return [width / 2 + this.pixels * x, height / 2 - this.pixels * y, z];
    };
  }

  // Edges of faces that look away are dashed, as in drawings of Brillouin zones.
  paintFaces() {
    return this.items.faces.map((face) => {
      const corners = face.map(this.project);
      const flat = this.items.faces.length === 1;
      const away = !flat && this.looksAway(face);
      const paint = (pen) => {
        pen.beginPath();
        corners.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        pen.closePath();
        pen.globalAlpha = away ? 0.04 : 0.1;
        pen.fillStyle = this.colors.line;
        pen.fill();
        pen.globalAlpha = away ? 0.45 : 1;
        pen.setLineDash(away ? [4, 4] : []);
        [pen.strokeStyle, pen.lineWidth] = [this.colors.faint, 1.2];
        pen.stroke();
        pen.globalAlpha = 1;
        pen.setLineDash([]);
      };
      return { depth: away ? -1e6 : -1e5, paint };
    });
  }

  // Whether the outer side of a face of a body around the origin is turned from the viewer.
  looksAway(face) {
    const [a, b, c] = face;
    const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    const normal = cross(b.map((value, axis) => value - a[axis]), c.map((value, axis) => value - a[axis]));
    return dot(normal, this.turn[2]) * dot(normal, a) < 0;
  }

  paintLines() {
    return this.items.lines.map(({ from, to, color, width, dash, border }) => {
      const [a, b] = [this.project(from), this.project(to)];
      const paint = (pen) => {
        [pen.strokeStyle, pen.lineWidth, pen.lineCap] = [this.colors[color] || color, width, "round"];
        pen.setLineDash(dash || []);
        pen.beginPath();
        pen.moveTo(a[0], a[1]);
        pen.lineTo(b[0], b[1]);
        pen.stroke();
        if (border) {
          // White bonds on white paper, black ones on black.
          [pen.globalCompositeOperation, pen.strokeStyle, pen.lineWidth] = ["destination-over", this.colors.faint, width + 1.5];
          pen.stroke();
          pen.globalCompositeOperation = "source-over";
        }
        pen.setLineDash([]);
      };
      return { depth: (a[2] + b[2]) / 2, paint };
    });
  }

  paintSpheres() {
    return this.items.spheres.map(({ at, radius, color }) => {
      const [x, y, z] = this.project(at);
      const size = Math.max(2, radius * this.pixels);
      const paint = (pen) => {
        pen.beginPath();
        pen.arc(x, y, size, 0, 2 * Math.PI);
        pen.fillStyle = this.colors[color] || color;
        pen.fill();
        const shine = pen.createRadialGradient(x - 0.35 * size, y - 0.35 * size, 0.05 * size, x, y, size);
        shine.addColorStop(0, `rgba(255,255,255,${LIGHT + 0.25})`);
        shine.addColorStop(0.5, "rgba(255,255,255,0)");
        shine.addColorStop(1, `rgba(0,0,0,${LIGHT})`);
        pen.fillStyle = shine;
        pen.fill();
        [pen.strokeStyle, pen.lineWidth] = [this.colors.faint, 0.8];
        pen.stroke();
      };
      return { depth: z, paint };
    });
  }

  // Labels lie above all and have a border in the colour of the paper, so that they can be read on lines.
  paintTexts(pen) {
    [pen.textAlign, pen.textBaseline, pen.lineJoin] = ["center", "middle", "round"];
    for (const { at, text, away } of this.items.texts) {
      const [x, y] = this.project(at);
      const [dx, dy] = away ? this.pushOut(x, y) : [0, 0];
      [pen.strokeStyle, pen.lineWidth, pen.fillStyle] = [this.colors.paper, 3, this.colors.ink];
      pen.strokeText(text, x + dx, y + dy);
      pen.fillText(text, x + dx, y + dy);
    }
  }

  pushOut(x, y) {
    const [dx, dy] = [x - this.canvas.clientWidth / 2, y - this.canvas.clientHeight / 2];
    const length = Math.hypot(dx, dy);
    return length < 1 ? [-11, 11] : [(14 * dx) / length, (14 * dy) / length];
  }

  // The nearest sphere under a pixel.
  find(px, py) {
    let found = null;
    for (const sphere of this.items.spheres) {
      const [x, y, z] = this.project(sphere.at);
      if (Math.hypot(px - x, py - y) <= Math.max(4, sphere.radius * this.pixels) && (!found || z > found.z)) found = { sphere, z };
    }
    return found && found.sphere;
  }
}

function multiply(a, b) {
  return a.map((row) => [0, 1, 2].map((column) => row.reduce((sum, value, k) => sum + value * b[k][column], 0)));
}

// Rows of a rotation that looks along `from` at the origin, with `up` upwards on the screen.
function lookFrom(from, up) {
  const unit = (v) => v.map((value) => value / Math.hypot(...v));
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const z = unit(from);
  let right = cross(up, z);
  if (Math.hypot(...right) < 1e-6) right = cross(Math.abs(z[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0], z);
  const x = unit(right);
  return [x, cross(z, x), z];
}

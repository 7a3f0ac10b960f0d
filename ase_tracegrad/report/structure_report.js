// The page of one structure. The data are what report/structure.py collects.

const ATOM = 0.45; // radius of a drawn atom, as a share of its covalent radius

function drawAtoms(atoms) {
  const readout = make("p", { class: "readout", role: "status", "aria-live": "polite" }, "Point at an atom.");
  const describe = `${atoms.symbols.length} atoms in space. Arrow keys turn, plus and minus zoom, 0 resets; positions are in the table below.`;
  const thin = atoms.repeated.filter(Boolean).length === 2;
  const turn = thin ? lookFrom([0.25, -1, 0.9], [0, 0, 1]) : lookFrom([0.9, -1, 0.5], [0, 0, 1]);
  const onPoint = (sphere) => {
    if (sphere) readout.textContent = `atom ${sphere.number}: ${sphere.name} at ${writeVector(sphere.at)} Å`;
  };
  const first = atoms.symbols.length <= 6 ? (thin ? 2 : 1) : 0;
  const scene = new Scene({ items: placeAtoms(atoms, [1, 2, 3][first]), describe, turn, onPoint });
  const views = atoms.cell
    ? atoms.cell.map((vector, axis) => makeButton("abc"[axis], `Look along ${"abc"[axis]}`, () => scene.lookAlong(lookFrom(vector, axis === 2 ? atoms.cell[1] : atoms.cell[2]))))
    : [];
  const cells = makeSelect("Cells", ["1", "2", "3"], (index) => scene.setItems(placeAtoms(atoms, index + 1)));
  cells.querySelector("select").value = first;
  const legend = makeLegend(Object.entries(atoms.elements).map(([name, { color }]) => ({ name, color })));
  const rows = atoms.symbols.map((symbol, index) => [String(index), symbol, ...atoms.positions[index]]);
  const tables = [makeTable("Positions (Å)", ["atom", "element", "x", "y", "z"], rows)];
  if (atoms.cell) tables.push(makeTable("Cell vectors (Å)", ["", "x", "y", "z", "periodic"], atoms.cell.map((vector, axis) => ["abc"[axis], ...vector, atoms.pbc[axis] ? "yes" : "no"])));
  return make("figure", {}, make("h3", {}, "Atoms"), make("div", { class: "tools" }, ...scene.tools(), ...views, atoms.repeated.some(Boolean) ? cells : null),
    scene.canvas, legend, readout, makeDetails("Positions and cell as a table", ...tables));
}

// Spheres, bonds and the cell, repeated along the periodic axes; drawn are the halves of bonds that belong to each atom.
function placeAtoms(atoms, repeat) {
  const counts = atoms.repeated.map((repeated) => (repeated ? repeat : 1));
  const add = (...vectors) => [0, 1, 2].map((axis) => vectors.reduce((sum, vector) => sum + vector[axis], 0));
  const [spheres, lines] = [[], []];
  for (let a = 0; a < counts[0]; a += 1) for (let b = 0; b < counts[1]; b += 1) for (let c = 0; c < counts[2]; c += 1) {
    const shift = atoms.cell ? add(...[a, b, c].map((n, axis) => atoms.cell[axis].map((value) => n * value))) : [0, 0, 0];
    atoms.positions.forEach((position, number) => {
      const { color, radius } = atoms.elements[atoms.symbols[number]];
      spheres.push({ at: add(position, shift), radius: ATOM * radius, color, name: atoms.symbols[number], number });
    });
    for (const [number, ...half] of atoms.bonds) {
      // From the surface of the sphere: a stick from its centre would be drawn over it.
      const center = add(atoms.positions[number], shift);
      const share = Math.min(1, (ATOM * atoms.elements[atoms.symbols[number]].radius) / Math.hypot(...half));
      lines.push({ from: add(center, half.map((value) => share * value)), to: add(center, half), color: atoms.elements[atoms.symbols[number]].color, width: 5, border: true });
    }
  }
  return { faces: [], lines: [...lines, ...(atoms.cell ? boxLines(atoms.cell) : [])], spheres, texts: atoms.cell ? axisNames(atoms.cell, "abc") : [], fit: spheres.map(({ at }) => at) };
}

function boxLines(cell) {
  const corner = (bits) => [0, 1, 2].map((axis) => bits.reduce((sum, bit, vector) => sum + bit * cell[vector][axis], 0));
  const lines = [];
  for (let code = 0; code < 8; code += 1) for (let vector = 0; vector < 3; vector += 1) {
    const bits = [code & 1, (code >> 1) & 1, (code >> 2) & 1];
    if (bits[vector]) continue;
    const other = bits.map((bit, index) => (index === vector ? 1 : bit));
    lines.push({ from: corner(bits), to: corner(other), color: "faint", width: 1 });
  }
  return lines;
}

function axisNames(vectors, names) {
  return vectors.map((vector, index) => ({ at: vector, text: names[index], away: true }));
}

function drawZone(zone) {
  const spheres = zone.points.map(({ name, at }) => ({ at, radius: 0, color: "edge", name }));
  const path = zone.segments.map(([a, b]) => ({ from: zone.points[a].at, to: zone.points[b].at, color: "edge", width: 3 }));
  const vectors = zone.vectors.map(({ to }) => ({ from: [0, 0, 0], to: to.map((value) => 0.75 * value), color: "faint", width: 1, dash: [2, 3] }));
  const texts = [...zone.points.map(({ name, at }) => ({ at, text: name, away: true })),
    ...zone.vectors.map(({ name, to }) => ({ at: to.map((value) => 0.75 * value), text: name, away: true }))];
  const turn = zone.vectors.length === 2 ? lookFrom([0, 0, 1], [0, 1, 0]) : lookFrom([1, -0.55, 0.35], [0, 0, 1]);
  const describe = `Brillouin zone with the path ${zone.segments.map(([a, b]) => `${zone.points[a].name} to ${zone.points[b].name}`).join(", ")}. Arrow keys turn, plus and minus zoom.`;
  const scene = new Scene({ items: { faces: zone.faces, lines: [...path, ...vectors], spheres, texts }, describe, turn });
  const table = makeTable("Special points of the path, Cartesian (1/Å)", ["point", "x", "y", "z"], zone.points.map(({ name, at }) => [name, ...at]));
  return make("figure", {}, make("h3", {}, "Brillouin zone"), make("div", { class: "tools" }, ...scene.tools()), scene.canvas,
    make("figcaption", {}, "The path of the bands is the thick line."), makeDetails("Special points as a table", table));
}

function drawTrust({ reasons, warnings, described, estimate }, card) {
  const note = (text, kind) => make("p", { class: "note" + kind }, text);
  const inside = "Every element, distance and surrounding of an atom here lies within the range of the training data.";
  const unknown = "The model carries no description of its training data: nothing says whether this structure is like them.";
  const notes = reasons.map((reason) => note(`Unlike the training data: ${reason}`, " warning"));
  if (!reasons.length) notes.push(described ? note(inside, "") : note(unknown, " warning"));
  notes.push(...warnings.map((text) => note(text, " warning")));
  if (estimate.feature_distance !== undefined) {
    notes.push(make("p", {}, `Mean error of the elements of H, expected from the distance to the training in the network's features: ${writeNumber(estimate.h_uncertainty, 2)} meV ` +
      `(distance ${writeNumber(estimate.feature_distance, 2)}, at most ${writeNumber(estimate.farthest, 2)} in training).`));
  }
  const errors = card.errors.map((row) => row[2]).filter((value) => value !== null);
  if (errors.length) notes.push(make("p", {}, `On structures it never saw, the model deviates from DFT by ${writeNumber(Math.min(...errors), 1)} to ${writeNumber(Math.max(...errors), 1)} meV ` +
    `(${card.columns[1]}, by test set). Outside of the range of its training nothing is known.`));
  return makeSection("How far to trust it", ...notes);
}

function drawSymmetry(symmetry, molecule) {
  return makeSection("Symmetry", make("p", {}, `How far the predicted H and the overlap S are from the symmetry of the structure, ${symmetry.group}.`),
    makeTable("Residuals", ["quantity", "value"], symmetry.residuals),
    makeDetails(molecule ? "Degeneracies of the levels" : "Degeneracies at the special points", makeTable("Levels that symmetry keeps together, from the lowest", ["k-point", "split by (meV)", "degeneracies"], symmetry.levels)));
}

function drawCard(card) {
  const parts = [makeFacts([["name", card.name], ...card.rows])];
  if (card.errors.length) parts.push(makeTable("Errors on test sets (meV)", ["set", ...card.columns], card.errors, 2));
  return makeSection("Model", ...parts);
}

function drawReport(data) {
  const main = document.getElementById("report");
  const file = document.title.replace(/[^A-Za-z0-9._-]+/g, "-");
  const bands = new BandView(data.bands, data.dos, file);
  main.append(makeFacts(data.facts, "strong"), drawTrust(data.trust, data.card),
    makeSection(data.zone ? "Bands and density of states" : "Levels and density of states", bands.element, makeDetails("Energies as a table", bands.makeTable())),
    makeSection("Gap", makeTable(`By electron count: ${data.gap.kind}`, ["quantity", "eV", ...(data.zone ? ["where"] : [])], data.gap.rows)),
    makeSection("Structure", make("div", { class: "pair" }, drawAtoms(data.atoms), ...(data.zone ? [drawZone(data.zone)] : []))));
  if (data.symmetry) main.append(drawSymmetry(data.symmetry, !data.zone));
  main.append(drawCard(data.card), makeSection("Settings", makeFacts(data.settings)));
}

drawReport(readData());

"use strict";
// Everything here only rearranges what the page holds already; without scripts the page is complete.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// ---- tables: sort by a heading

function sortKey(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  const number = Number(text.replace("\u2212", "-").replace(/,/g, ""));
  return text !== "" && !Number.isNaN(number) ? number : text;
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1; // words such as a dash go last
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const headings = all("thead tr.headings th", table);
  const original = [...body.rows];
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button", title: "Sort" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = now === "ascending" ? "descending" : now === "descending" ? "none" : "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (next !== "none") heading.setAttribute("aria-sort", next);
      const keyed = original.map((row) => [sortKey(row.cells[column]), row]);
      if (next !== "none") keyed.sort((a, b) => compareKeys(a[0], b[0]) * (next === "ascending" ? 1 : -1));
      table.classList.toggle("sorted", next !== "none");
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

// ---- tables: show the rows that match the words, the role, and the trials asked for

const filters = new Map(); // table -> { words, role, trials }

function applyFilter(table) {
  const { words = "", role = "", trials = null } = filters.get(table) || {};
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const roleColumn = all("thead tr.headings th", table).findIndex((th) => th.textContent.trim() === "Role");
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const roleFits = !role || roleColumn < 0 || row.cells[roleColumn].textContent.trim() === role;
    const trialFits = !trials || trials.has(row.cells[0].id);
    row.hidden = !(roleFits && trialFits && wanted.every((word) => text.includes(word)));
    shown += row.hidden ? 0 : 1;
  }
  const note = table.closest("section").querySelector(".matches");
  if (note) note.textContent = shown === table.tBodies[0].rows.length ? "" : `${shown} of ${table.tBodies[0].rows.length} rows`;
}

function setFilter(table, change) {
  filters.set(table, { ...filters.get(table), ...change });
  applyFilter(table);
}

function addFilterBox(table) {
  if (table.tBodies[0].rows.length < 2) return;
  const input = element("input", { type: "search", placeholder: "Filter rows", "aria-label": "Filter rows" });
  input.addEventListener("input", () => setFilter(table, { words: input.value, trials: null }));
  const bar = element("div", { class: "tools" }, input, element("span", { class: "matches", "aria-live": "polite" }));
  table.closest(".scroll").before(bar);
}

// ---- scores: one metric and role at a time

function choices(title, options, onChange) {
  const group = element("fieldset", { class: "choices" }, element("legend", {}, title));
  options.forEach(([value, label], index) => {
    const id = `choice-${title}-${index}`.replace(/\W+/g, "-");
    const input = element("input", { type: "radio", name: title, value, id });
    input.checked = index === 0;
    input.addEventListener("change", () => onChange(value));
    group.append(input, element("label", { for: id }, label));
  });
  return group;
}

function addSwitches() {
  const bar = document.getElementById("switches");
  const sections = all("section.table[data-metric]");
  if (!bar || !sections.length) return;
  const metrics = new Map(sections.map((section) => [section.dataset.metric, section.dataset.label]));
  const showMetric = (metric) => sections.forEach((section) => { section.hidden = section.dataset.metric !== metric; });
  if (metrics.size > 1) {
    bar.append(choices("Metric", [...metrics], showMetric));
    showMetric(metrics.keys().next().value);
  }
  const roles = new Set();
  for (const section of sections) {
    const column = all("thead tr.headings th", section).findIndex((th) => th.textContent.trim() === "Role");
    if (column >= 0) all("tbody tr", section).forEach((row) => roles.add(row.cells[column].textContent.trim()));
  }
  const named = [...roles].filter((role) => /\w/.test(role));
  if (named.length > 1) {
    const show = (role) => sections.forEach((section) => setFilter(section.querySelector("table"), { role }));
    bar.append(choices("Role", [["", "all"], ...named.map((role) => [role, role])], show));
  }
}

// ---- a number leads to its trials

function followTrials() {
  const table = document.querySelector("#table-trials table");
  if (!table) return;
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#trial-"]');
    if (!link) return;
    event.preventDefault();
    const ids = link.dataset.trials || link.closest("tr").dataset.trials || "";
    setFilter(table, { trials: new Set(ids.split(" ").map((id) => `trial-${id}`)), words: "" });
    const box = table.closest("section").querySelector('input[type="search"]');
    if (box) { box.value = ""; box.placeholder = "Trials of the chosen number; type to see others"; }
    table.closest("details").open = true;
    document.getElementById("table-trials").scrollIntoView({ block: "start" });
    table.closest(".scroll").focus({ preventScroll: true });
  });
}

// ---- the viewer

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

async function grayValues(uri, columns) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = element("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  return Uint8Array.from({ length: pixels.length / 4 }, (_, i) => pixels[4 * i]);
}

function overlay(mode, reference, label, colours) {
  if (mode === "labels") return label ? colours.labels[(label - 1) % colours.labels.length] : null;
  if (mode === "image" || reference === label) return null;
  return colours.errors[reference && label ? 2 : reference ? 0 : 1]; // wrong label, missed, extra
}

function paint(canvas, item, volumes, column, slice, mode, colours) {
  const size = item.rows * item.columns;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(item.columns, item.rows);
  const labels = column > 0 ? volumes[column] : null;
  for (let i = 0; i < size; i++) {
    const at = slice * size + i;
    const gray = volumes[0][at];
    const colour = labels && overlay(mode, volumes[1][at], labels[at], colours);
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = colour ? 0.5 * gray + 0.5 * colour[c] : gray;
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

function viewer(root, data) {
  const colours = { labels: data.colours.map(rgb), errors: data.errors.map(([, colour]) => rgb(colour)) };
  const decoded = new Map();
  let chosen = 0, mode = "labels", drawn = 0;
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Slice" });
  const place = element("output");
  const panels = data.columns.map((name) => {
    const canvas = element("canvas", { role: "img", "aria-label": name });
    const note = element("span", { class: "note" });
    return { canvas, note, box: element("figure", {}, canvas, element("figcaption", {}, name, element("br"), note)) };
  });

  async function show() {
    const mine = ++drawn;
    const item = data.cases[chosen];
    if (!decoded.has(chosen)) decoded.set(chosen, await Promise.all(item.volumes.map((uri) => uri && grayValues(uri))));
    if (mine !== drawn) return; // a later choice has come in between
    const volumes = decoded.get(chosen);
    const slice = Number(slider.value);
    place.textContent = `slice ${item.slices[slice] + 1}`;
    panels.forEach(({ canvas, note }, column) => {
      canvas.width = item.columns;
      canvas.height = item.rows;
      canvas.style.aspectRatio = `${item.columns} / ${item.rows * item.aspect}`;
      note.textContent = volumes[column] ? item.notes[column] : "not kept";
      paint(canvas, item, volumes[column] ? volumes : [volumes[0]], volumes[column] ? column : 0, slice, mode, colours);
    });
    root.dataset.slice = slice;
  }

  function choose(index) {
    chosen = Number(index);
    slider.max = data.cases[chosen].slices.length - 1;
    slider.value = data.cases[chosen].start;
    show();
  }

  const name = (text) => `${text} of ${data.dataset}`;
  slider.addEventListener("input", show);
  root.append(
    element("div", { class: "tools" },
      choices(name("Cases"), data.cases.map((item, index) => [index, item.title]), choose),
      choices(name("Overlay"), [["labels", "labels"], ["errors", "errors"], ["image", "none"]], (value) => { mode = value; show(); })),
    element("div", { class: "slice" }, slider, place),
    element("div", { class: "panels" }, ...panels.map(({ box }) => box)),
    element("p", { class: "key" },
      ...data.labels.map(([value, label]) => swatch(data.colours[(value - 1) % data.colours.length], label)),
      ...data.errors.map(([label, colour]) => swatch(colour, `error: ${label}`)),
      ...data.regions.map(([region, labels]) => element("span", {}, element("b", {}, region), ` = ${labels}`))));
  choose(0);
}

function swatch(colour, label) {
  const box = element("i", {});
  box.style.background = colour;
  return element("span", {}, box, label);
}

// ----

// ---- sections: a link opens the one that it leads to, print shows all, the contents list says where one is

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const section = target && target.closest("details");
  if (!section || section.open) return;
  section.open = true;
  target.scrollIntoView({ block: "start" });
}

function followSections() {
  window.addEventListener("hashchange", openTarget);
  all("nav a").forEach((link) => link.addEventListener("click", () => {
    const section = document.getElementById(link.hash.slice(1));
    if (section.tagName === "DETAILS") section.open = true;
  }));
  const closed = new Set();
  window.addEventListener("beforeprint", () => all("details.section:not([open])").forEach((section) => { closed.add(section); section.open = true; }));
  window.addEventListener("afterprint", () => { closed.forEach((section) => { section.open = false; }); closed.clear(); });
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
    all(`nav a[href="#${entry.target.id}"]`).forEach((link) => link.classList.toggle("here", entry.isIntersecting));
  }));
  all("header, details.section").forEach((part) => watch.observe(part));
  openTarget();
}

// ---- a table that is wider than its box says so

function tellWidths() {
  const boxes = all(".scroll");
  const look = (box) => box.classList.toggle("more", box.scrollWidth > box.clientWidth + 1);
  const watch = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target)));
  boxes.forEach((box) => { look(box); watch.observe(box); });
}

all("section.table:not(.protocol) table").forEach((table) => { makeSortable(table); addFilterBox(table); });
addSwitches();
followTrials();
followSections();
tellWidths();
JSON.parse(document.getElementById("viewer-data")?.textContent || "[]").forEach((data) => {
  const root = element("div", { class: "viewer", "data-dataset": data.dataset });
  document.getElementById("viewer-data").before(element("h3", {}, data.dataset), root);
  viewer(root, data);
});
document.documentElement.classList.add("ready");

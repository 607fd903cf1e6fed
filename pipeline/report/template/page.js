(() => {
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (query, from = document) => from.querySelector(query);
const $$ = (query, from = document) => [...from.querySelectorAll(query)];
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
};
const checked = name => $$(`input[name="${name}"]:checked`).map(box => box.value);

// Colours of the charts are CSS variables, so a change of mode needs no redraw.
const views = {};
const drawn = Object.entries(data.charts).map(async ([name, chart]) => {
  const place = document.getElementById(`chart-${name}`);
  const result = await vegaEmbed(place, chart.spec, {
    config: data.config.css, actions: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
  });
  views[name] = result.view;
  result.view.addEventListener("click", (_, item) => item && item.datum && openSheet(item.datum.run));
});

function glyph(family) {
  const slot = data.slots[family];
  if (slot === undefined) return "";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("viewBox", "-8 -8 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.style.setProperty("--c", `var(--family-${slot})`);
  path.setAttribute("d", data.paths[slot]);
  svg.append(path);
  return svg;
}

// The table of trials.
const table = $("#trials");
const { columns, titles, fields, same, rows } = data.trials;
for (const row of rows) {
  const values = [...fields.map((name, i) => [name, row.all[i]]), ...Object.entries(same)];
  row.all = Object.fromEntries(values.filter(([, value]) => value !== null && value !== ""));
}
const numeric = new Set(["samples", "budget", "train_flops", "seed", "value", "device_seconds"]);
const later = new Set(["samples", "budget", "seed", "device_seconds"]);
const last = new Set(["arch", "train_flops"]);
const text = new Map(rows.map(row => [row, JSON.stringify(row.all).toLowerCase()]));
const state = { sort: null, down: false, all: false };
const FIRST = 20;
const look = key => [numeric.has(key) && "n", later.has(key) && "later", last.has(key) && "last"].filter(Boolean).join(" ");

table.tHead.append(make("tr", {}, ...columns.map((key, i) => {
  const button = make("button", { type: "button", textContent: titles[i] });
  button.addEventListener("click", () => {
    state.down = state.sort === i ? !state.down : false;
    state.sort = i;
    fill();
  });
  return make("th", { scope: "col", className: look(key) }, button);
})));

function chosen() {
  const families = new Set(checked("family"));
  const outcomes = new Set(checked("outcome"));
  const words = $("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = rows.filter(row => (!row.family || families.has(row.family)) && outcomes.has(row.outcome)
    && words.every(word => text.get(row).includes(word)));
  if (state.sort === null) return kept;
  const way = state.down ? -1 : 1;
  return kept.sort((a, b) => {
    const [x, y] = [a.cells[state.sort][0], b.cells[state.sort][0]];
    if (x === y) return 0;
    if (x === null || x === undefined) return 1;  // what is missing stays at the end
    if (y === null || y === undefined) return -1;
    return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) * way;
  });
}

function line(row) {
  const cells = columns.map((key, i) => {
    const cell = make("td", { className: look(key) });
    if (key === "digest") {
      const button = make("button", { type: "button", className: "link", textContent: row.cells[i][1] });
      button.setAttribute("aria-label", `Trial ${row.cells[i][1]}, all fields`);
      button.addEventListener("click", () => openSheet(row.digest));
      cell.append(button);
    } else if (key === "family") {
      cell.append(make("span", { className: "family" }, glyph(row.family), row.cells[i][1]));
    } else {
      cell.textContent = row.cells[i][1];
    }
    return cell;
  });
  const bad = row.outcome === "failed" || row.outcome === "diverged";
  return make("tr", { className: bad ? "bad" : "", title: row.all.reason || "" }, ...cells);
}

function fill() {
  const kept = chosen();
  const shown = state.all ? kept : kept.slice(0, FIRST);
  $$("th", table).forEach((th, i) => {
    if (state.sort === i) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  });
  const none = rows.length ? "No trial matches these filters." : "No trial has been recorded yet.";
  const empty = make("tr", { className: "none" }, make("td", { colSpan: columns.length, textContent: none }));
  table.tBodies[0].replaceChildren(...(shown.length ? shown.map(line) : [empty]));
  $("#count").textContent = `${kept.length === rows.length ? "" : `${kept.length} of `}${rows.length} ${rows.length === 1 ? "trial" : "trials"}`;
  $("#more").hidden = shown.length === kept.length;
  $("#more").textContent = `Show all ${kept.length}`;
}

function openSheet(digest) {
  const row = rows.find(r => r.digest && r.digest === digest);
  if (!row) return;
  $("#sheet-title").textContent = `${row.all.arch || "Trial"} · ${row.digest.slice(0, 8)}`;
  const fields = Object.entries(row.all).map(([key, value]) =>
    make("div", {}, make("dt", { textContent: key }), make("dd", { textContent: typeof value === "object" ? JSON.stringify(value) : value })));
  const command = make("p", {}, make("code", { textContent: `crossover why ${row.digest.slice(0, 12)}` }));
  $("#sheet-body").replaceChildren(command, make("dl", { className: "checklist" }, ...fields));
  $("#sheet").showModal();
}
$("#sheet").addEventListener("click", event => event.target === $("#sheet") && $("#sheet").close());

// Filters act on charts and table, and live in the address so that a view can be passed on.
function apply() {
  const families = checked("family");
  for (const view of Object.values(views)) view.signal("families", families).runAsync();
  fill();
  const wanted = new URLSearchParams();
  if (families.length !== data.families.length) wanted.set("families", families.join(","));
  if (checked("outcome").length !== $$('input[name="outcome"]').length) wanted.set("outcomes", checked("outcome").join(","));
  if ($("#search").value) wanted.set("search", $("#search").value);
  try { history.replaceState(null, "", `#${wanted}`); } catch { /* a sandboxed frame has no address */ }
}
const asked = new URLSearchParams(location.hash.slice(1));
for (const [param, name] of [["families", "family"], ["outcomes", "outcome"]]) {
  if (!asked.has(param)) continue;
  const keep = asked.get(param).split(",");
  $$(`input[name="${name}"]`).forEach(box => { box.checked = keep.includes(box.value); });
}
$("#search").value = asked.get("search") || "";
document.addEventListener("change", event => event.target.matches('input[type="checkbox"]') && apply());
$("#search").addEventListener("input", apply);
$("#filter")?.addEventListener("submit", event => event.preventDefault());
$("#more").addEventListener("click", () => { state.all = true; fill(); });
fill();
Promise.all(drawn).then(() => { if (asked.size) apply(); document.documentElement.dataset.ready = "yes"; });

// Saving. Figures are drawn again in the light colours, for paper.
function save(name, url) {
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
function csv(records) {
  const keys = [...new Set(records.flatMap(Object.keys))];
  const quote = value => {
    const plain = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  return [keys, ...records.map(record => keys.map(key => record[key]))].map(row => row.map(quote).join(",")).join("\r\n") + "\r\n";
}
const saveText = (name, type, body) => {
  const url = URL.createObjectURL(new Blob([body], { type }));
  save(name, url);
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};
async function saveChart(name, kind) {
  const chart = data.charts[name];
  if (kind === "csv") return saveText(`${name}.csv`, "text/csv", csv(chart.points.filter(p => checked("family").includes(p.family))));
  const spec = { ...chart.spec, width: 720, autosize: "pad", background: "white" };
  const { view, finalize } = await vegaEmbed(make("div"), spec, { config: data.config.light, actions: false });
  await view.signal("families", checked("family")).runAsync();
  if (kind === "svg") saveText(`${name}.svg`, "image/svg+xml", await view.toSVG());
  else save(`${name}.png`, await view.toImageURL("png", 2));
  finalize();
}
$$("[data-save]").forEach(button => button.addEventListener("click", () => saveChart(button.dataset.of, button.dataset.save)));
$("#csv").addEventListener("click", () => saveText("trials.csv", "text/csv", csv(chosen().map(row => row.all))));
$$("[data-trial]").forEach(button => button.addEventListener("click", () => openSheet(button.dataset.trial)));
$$("[data-copy]").forEach(button => button.addEventListener("click", async () => {
  await navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
}));
$("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
addEventListener("beforeprint", () => { state.all = true; fill(); });
})();

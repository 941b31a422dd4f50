const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(document.getElementById("datatables").textContent), (sign) => sign.charCodeAt(0));
const address = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00", "#888888"];
const FIRST = 5; // curves that are drawn unasked
const drawings = [];

function element(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text; // never innerHTML: names come from users
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}

const markup = (text) => element("i", text).innerHTML; // for what can only be given as markup

function setTheme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  drawings.forEach((draw) => draw());
}

function layout(more) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
    margin: { l: 50, r: 12, t: 8, b: 40 }, ...more,
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

function curves(table, chosen) {
  const traces = [];
  [...chosen].forEach((run, index) => {
    const group = table.groups[run], colour = COLOURS[index % COLOURS.length];
    let named = false;
    group.runs.forEach(({ seed, curve: [train, valid] }) => {
      if (!valid.length) return;
      const x = valid.map((_, epoch) => epoch + 1);
      const shared = { x, legendgroup: run, mode: "lines", name: plain(group.label), type: "scatter" };
      const hover = `<b>%{fullData.name}</b><br>seed ${seed} · epoch %{x}<br>`;
      traces.push({ ...shared, y: valid, line: { color: colour, width: 2 }, showlegend: !named,
        hovertemplate: hover + "valid %{y:.5g}<extra></extra>" });
      traces.push({ ...shared, y: train, line: { color: colour, width: 1, dash: "dash" }, showlegend: false,
        hovertemplate: hover + "train %{y:.5g}<extra></extra>" });
      named = true;
    });
  });
  return traces;
}

// plotly reads a few tags in texts, and DataTables what looks like an entity where it filters: take away what starts one
const plain = (text) => text.replaceAll("<", "‹").replaceAll(">", "›").replaceAll("&", "＆");

function drawCurves(place, table, chosen) {
  const low = [], floor = table.floor_valid;
  const traces = curves(table, chosen);
  traces.forEach((trace) => low.push(...trace.y.slice(-1)));
  const finite = low.filter((value) => value !== null);
  const top = finite.length ? Math.max(...finite) : 1, bottom = Math.min(...finite, floor ?? Infinity);
  const shapes = floor ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: { dash: "dot", width: 1, color: "#888" } }] : [];
  const annotations = floor ? [{ xref: "paper", x: 1, y: floor, text: "floor", showarrow: false, yanchor: "bottom", xanchor: "right" }] : [];
  const last = Math.max(1, ...traces.map((trace) => trace.x.length));
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => last <= 10 * size) ?? 5000; // whole epochs
  Plotly.react(place, traces, layout({
    height: 420, shapes, annotations, hovermode: "closest", legend: { orientation: "h", y: -0.18 },
    xaxis: { title: { text: "epoch" }, tick0: step > 1 ? 0 : 1, dtick: step },
    yaxis: { title: { text: data.title }, range: finite.length ? [bottom * 0.93, top * 1.6] : undefined },
  }), { responsive: true, displayModeBar: false });
}

function drawForest(place, differences) {
  const rows = Object.fromEntries(["label", "change", "low", "high", "p", "df"].map((key) => [key, differences.map((each) => each[key])]));
  const y = rows.label.map((_, index) => rows.label.length - index), style = getComputedStyle(document.documentElement);
  const sure = rows.p.map((p) => p !== null && p < 0.05);
  const colour = rows.change.map((change, index) => (!sure[index] ? "#888888" : change < 0 ? COLOURS[0] : COLOURS[1]));
  const bound = (end) => rows.change.map((change, index) => (rows[end][index] === null ? 0 : Math.abs(rows[end][index] - change)));
  const names = rows.label.map((label) => plain(label.length > 34 ? label.slice(0, 33) + "…" : label));
  const text = rows.label.map((label, index) => `<b>${plain(label)}</b><br>${rows.change[index].toFixed(2)} %` +
    (rows.low[index] === null ? "" : ` [${rows.low[index].toFixed(2)}, ${rows.high[index].toFixed(2)}]`) +
    (rows.p[index] === null ? "" : `<br>Holm p = ${rows.p[index].toPrecision(2)}, df ${rows.df[index]}`));
  const ends = [0, ...rows.change, ...rows.low, ...rows.high].filter((value) => value !== null); // zero is always there
  const low = Math.min(...ends), high = Math.max(...ends), margin = 0.06 * (high - low || 1);
  const counts = rows.df.map((df, index) => ({ xref: "paper", x: 1.01, xanchor: "left", y: y[index], text: df, showarrow: false }));
  counts.push({ xref: "paper", x: 1.01, xanchor: "left", yref: "paper", y: 1, yanchor: "bottom", text: "df", showarrow: false });
  const dots = { type: "scatter", mode: "markers", x: rows.change, y, text, hovertemplate: "%{text}<extra></extra>",
    error_x: { type: "data", symmetric: false, array: bound("high"), arrayminus: bound("low"), thickness: 1.5, width: 0, color: "#888888" },
    marker: { size: 9, color: colour.map((each, index) => (sure[index] ? each : style.getPropertyValue("--paper"))), line: { width: 2, color: colour } } };
  Plotly.react(place, [dots], layout({
    height: Math.max(220, 24 * y.length + 90), showlegend: false, hovermode: "closest", annotations: counts,
    margin: { l: 50, r: 58, t: 24, b: 40 },
    xaxis: { ticksuffix: " %", range: [low - margin, high + margin], zeroline: true, zerolinewidth: 2, zerolinecolor: "#888888" },
    yaxis: { tickvals: y, ticktext: names, showgrid: false, range: [0.3, y.length + 0.7] },
  }), { responsive: true, displayModeBar: false });
}

function settings(place, pairs) {
  for (const [name, value] of Object.entries(pairs)) {
    const row = element("tr", null, place);
    element("th", name, row);
    element("td", value, row);
  }
}

function detail(table, run) {
  const group = table.groups[run], made = element("div", null, null, "detail");
  element("h3", "To run it again", made);
  const command = element("code", group.reproduce, made);
  const copy = element("button", "copy", made);
  copy.addEventListener("click", () => navigator.clipboard?.writeText(command.textContent).then(() => (copy.textContent = "copied")));
  element("h3", "Runs", made);
  const runs = element("table", null, element("div", null, made, "grid"), "settings");
  const head = element("tr", null, runs);
  ["seed", "status", "valid", "test", "computed on", "folder"].forEach((name) => element("th", name, head));
  const number = (value) => (value === null ? "" : value.toPrecision(5));
  group.runs.forEach((each) => {
    const row = element("tr", null, runs), where = data.environments[each.environment];
    const place = where.torch === undefined ? "" // it failed before it could begin
      : `${where.device_name ?? where.device} · ${where.host} · torch ${where.torch} · rnndrop ${where.rnndrop} · rev ${where.revision}`;
    [each.seed, each.error ? `${each.status}: ${each.error}` : each.status, number(each.valid), number(each.test), place, each.folder]
      .forEach((text) => element("td", text, row));
  });
  element("h3", "Settings of its own", made);
  settings(element("table", null, made, "settings"), group.settings);
  return made;
}

function section(table) {
  const made = document.getElementById("section").content.cloneNode(true).firstElementChild;
  document.getElementById("main").append(made);
  const find = (selector) => made.querySelector(selector);
  find("h2").textContent = table.constants;
  table.notes.forEach((note) => element("li", note, find(".notes")));
  table.warnings.forEach((warning) => element("li", warning, find(".warnings")));
  settings(find(".common table"), table.common);

  const drawn = (run) => run && table.groups[run]?.runs.some(({ curve }) => curve[1].length);
  const chosen = new Set(table.rows.map((row) => row.run).filter(drawn).slice(0, FIRST));
  const place = find(".curves .plot");
  const redraw = () => drawCurves(place, table, chosen);
  drawings.push(redraw);

  const tick = { title: "curve", orderable: true, className: "dt-center", data: null,
    render: (row, type) => (type !== "display" ? (chosen.has(row.run) ? 1 : 0) : ""),
    createdCell: (cell, _, row) => {
      if (!drawn(row.run)) return;
      const box = element("input", null, cell);
      box.type = "checkbox";
      box.checked = chosen.has(row.run);
      box.setAttribute("aria-label", `curve of ${table.groups[row.run].label}`);
      box.addEventListener("change", () => { box.checked ? chosen.add(row.run) : chosen.delete(row.run); redraw(); });
    } };
  const columns = table.columns.map((column, index) => ({
    title: markup(column.title), data: null, className: index ? (column.left ? "dt-left" : "dt-right") : "label",
    type: table.rows.some((row) => typeof row.values[index] === "number") ? "num" : "string",
    render: (row, type) => (type === "sort" || type === "type" ? row.values[index] ?? "" : type === "display" ? "" : plain(row.cells[index])),
    createdCell: (cell, _, row) => {
      cell.textContent = row.cells[index];
      if (!index && row.run) cell.classList.add("open");
    },
  }));
  if (table.floor) {
    const row = element("tr", null, element("tfoot", null, find(".scroll table")));
    ["", ...table.floor].forEach((text) => element("th", text, row));
  }
  const view = new DataTable(find(".scroll table"), {
    data: table.rows, columns: [tick, ...columns], order: [], pageLength: 50, lengthMenu: [25, 50, 200, -1], autoWidth: false,
    paging: table.rows.length > 50, info: table.rows.length > 50, search: { smart: true },
    language: { search: "", searchPlaceholder: "filter", lengthLabels: { "-1": "all" } },
    createdRow: (row, content) => content.tone && row.classList.add(content.tone),
  });
  view.on("click", "td.open", (event) => {
    const row = view.row(event.target.closest("tr"));
    row.child.isShown() ? row.child.hide() : row.child(detail(table, row.data().run)).show();
  });
  redraw();
  if (table.forest?.rows.length) {
    find(".forest figcaption span").textContent = table.forest.about;
    const forest = () => drawForest(find(".forest .plot"), table.forest.rows);
    drawings.push(forest);
    forest();
  } else find(".forest").remove();
  if (!chosen.size) find(".curves").remove();
}

const wish = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(wish.matches);
wish.addEventListener("change", () => setTheme(wish.matches));
document.getElementById("theme").addEventListener("click", () => setTheme(!document.documentElement.classList.contains("dark")));
data.tables.forEach(section);
data.decisions.forEach((decision) => element("li", decision, document.getElementById("decisions")));
data.failures.forEach((failure) => element("li", failure, document.getElementById("failures")));
document.documentElement.dataset.ready = "yes";

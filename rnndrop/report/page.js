const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(document.getElementById("datatables").textContent), (sign) => sign.charCodeAt(0));
const address = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00", "#888888"];
const BELOW = { orientation: "h", yref: "container", y: 0, yanchor: "bottom" }; // a legend clear of the axis and its title
const MARKS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star"];
const FIRST = 5; // curves that are drawn unasked
const drawings = []; // made when all figures are there: then each has its width

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
  const axes = Object.keys(more).filter((key) => /^[xy]axis/.test(key)).map((key) => [key, { ...axis, ...more[key], title: { standoff: 10, ...more[key].title } }]);
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
    margin: { l: 50, r: 12, t: 8, b: 40 }, hovermode: "closest", ...more, ...Object.fromEntries(axes),
  };
}

const draw = (place, traces, more) => Plotly.react(place, traces, layout(more), { responsive: true, displayModeBar: false });

// whole numbers on an axis that counts up to `last`
function counted(last) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => last <= 10 * size) ?? 5000;
  return { tick0: step > 1 ? 0 : 1, dtick: step };
}

function curves(table, chosen, place) {
  const traces = [];
  [...chosen].forEach((run, index) => {
    const group = table.groups[run], colour = COLOURS[index % COLOURS.length];
    let named = false;
    group.runs.forEach(({ seed, curve: [train, valid] }) => {
      if (!valid.length) return;
      const x = valid.map((_, epoch) => epoch + 1);
      const shared = { x, legendgroup: run, mode: "lines", name: legible(group.label, place), type: "scatter" };
      const hover = `${plain(group.label)}<br>seed ${seed} · epoch %{x}<br>`;
      traces.push({ ...shared, y: valid, line: { color: colour, width: 2 }, showlegend: !named,
        hovertemplate: hover + "valid %{y:.5g}<extra></extra>" });
      traces.push({ ...shared, y: train, line: { color: colour, width: 1, dash: "dash" }, showlegend: false,
        hovertemplate: hover + "train %{y:.5g}<extra></extra>" });
      named = true;
    });
  });
  return traces;
}

// plotly reads a few tags in texts, some as styles that the page's policy forbids, and DataTables what looks like an entity where it filters: take away what starts one
const plain = (text) => text.replaceAll("<", "‹").replaceAll(">", "›").replaceAll("&", "＆");

const short = (label, limit = 34) => plain(label.length > limit ? label.slice(0, limit - 1) + "…" : label);
const legible = (label, place) => short(label, Math.max(20, Math.floor(place.clientWidth / 7) - 12)); // in a line of a legend

function drawCurves(place, table, chosen) {
  const low = [], floor = table.floor_valid;
  const traces = curves(table, chosen, place);
  traces.forEach((trace) => low.push(...trace.y.slice(-1)));
  const finite = low.filter((value) => value !== null);
  const top = finite.length ? Math.max(...finite) : 1, bottom = Math.min(...finite, floor ?? Infinity);
  const shapes = floor ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: { dash: "dot", width: 1, color: "#888" } }] : [];
  const annotations = floor ? [{ xref: "paper", x: 1, y: floor, text: "floor", showarrow: false, yanchor: "bottom", xanchor: "right" }] : [];
  const last = Math.max(1, ...traces.map((trace) => trace.x.length));
  draw(place, traces, {
    height: 420, shapes, annotations, legend: BELOW,
    xaxis: { title: { text: "epoch" }, ...counted(last) },
    yaxis: { title: { text: data.title }, range: finite.length ? [bottom * 0.93, top * 1.6] : undefined },
  });
}

function drawForest(place, differences) {
  const rows = Object.fromEntries(["label", "change", "low", "high", "p", "df"].map((key) => [key, differences.map((each) => each[key])]));
  const y = rows.label.map((_, index) => rows.label.length - index), style = getComputedStyle(document.documentElement);
  const sure = rows.p.map((p) => p !== null && p < 0.05);
  const colour = rows.change.map((change, index) => (!sure[index] ? "#888888" : change < 0 ? COLOURS[0] : COLOURS[1]));
  const bound = (end) => rows.change.map((change, index) => (rows[end][index] === null ? 0 : Math.abs(rows[end][index] - change)));
  const narrow = place.clientWidth < 500, names = rows.label.map((label) => short(label, narrow ? 22 : 34));
  const text = rows.label.map((label, index) => `${plain(label)}<br>${rows.change[index].toFixed(2)} %` +
    (rows.low[index] === null ? "" : ` [${rows.low[index].toFixed(2)}, ${rows.high[index].toFixed(2)}]`) +
    (rows.p[index] === null ? "" : `<br>Holm p = ${rows.p[index].toPrecision(2)}, df ${rows.df[index]}`));
  const ends = [0, ...rows.change, ...rows.low, ...rows.high].filter((value) => value !== null); // zero is always there
  const low = Math.min(...ends), high = Math.max(...ends), margin = 0.06 * (high - low || 1);
  const counts = rows.df.map((df, index) => ({ xref: "paper", x: 1.01, xanchor: "left", y: y[index], text: df, showarrow: false }));
  counts.push({ xref: "paper", x: 1.01, xanchor: "left", yref: "paper", y: 1, yanchor: "bottom", text: "df", showarrow: false });
  const dots = { type: "scatter", mode: "markers", x: rows.change, y, text, hovertemplate: "%{text}<extra></extra>",
    error_x: { type: "data", symmetric: false, array: bound("high"), arrayminus: bound("low"), thickness: 1.5, width: 0, color: "#888888" },
    marker: { size: 9, color: colour.map((each, index) => (sure[index] ? each : style.getPropertyValue("--paper"))), line: { width: 2, color: colour } } };
  draw(place, [dots], {
    height: Math.max(220, 24 * y.length + 90), showlegend: false, annotations: counts,
    margin: { l: 50, r: 58, t: 24, b: 40 },
    xaxis: { ticksuffix: " %", nticks: narrow ? 4 : 0, range: [low - margin, high + margin], zeroline: true, zerolinewidth: 2, zerolinecolor: "#888888" },
    yaxis: { tickvals: y, ticktext: names, showgrid: false, range: [0.3, y.length + 0.7] },
  });
}

// above the evidence, up to what decides; below the difference with its interval, before the margin
function drawDecision(place, story) {
  const traces = [], named = new Set(), plans = Object.keys(story.compared), apart = Math.min(0.12, 0.6 / plans.length);
  const ends = Object.fromEntries(story.courses.filter(({ end }) => end).map(({ plan, end }) => [plan, `: ${end}`]));
  story.courses.forEach((course) => {
    const colour = COLOURS[course.plan % COLOURS.length], mark = MARKS[course.plan % MARKS.length];
    const shared = { type: "scatter", mode: "lines+markers", legendgroup: course.plan,
      name: legible(story.compared[course.plan], place) + (ends[course.plan] ?? "") };
    const hover = (what) => `${plain(course.label)}<br>%{customdata} seeds · ${what}<extra></extra>`;
    traces.push({ ...shared, x: course.seeds, y: course.differ, customdata: course.seeds, showlegend: !named.has(course.plan),
      line: { color: colour, width: 2 }, marker: { size: 7, symbol: mark }, hovertemplate: hover("E for a difference: %{y:.3g}") });
    traces.push({ ...shared, x: course.seeds, y: course.equal, customdata: course.seeds, showlegend: false,
      line: { color: colour, width: 1.5, dash: "dash" }, marker: { size: 7, symbol: `${mark}-open` },
      hovertemplate: hover(`E for equal within ${story.margin}: %{y:.3g}`) });
    const bounds = (end) => course[end].map((value, look) => (value === null || course.change[look] === null ? 0 : Math.abs(value - course.change[look])));
    const text = course.change.map((value, look) => (value === null ? "" : `${value.toFixed(2)} %` +
      (course.low[look] === null ? "" : ` [${course.low[look].toFixed(2)}, ${course.high[look].toFixed(2)}]`)));
    const x = course.seeds.map((seeds) => seeds + apart * (plans.indexOf(`${course.plan}`) - (plans.length - 1) / 2));
    traces.push({ ...shared, x, y: course.change, customdata: course.seeds, text, yaxis: "y2", showlegend: false,
      line: { color: colour, width: 1.5 }, marker: { size: 7, symbol: mark }, hovertemplate: hover("%{text}"),
      error_y: { type: "data", symmetric: false, array: bounds("high"), arrayminus: bounds("low"), thickness: 1.5, width: 0 } });
    named.add(course.plan);
    if (course.end) traces.push({ ...shared, mode: "markers", x: course.seeds.slice(-1), y: [course.deciding], showlegend: false,
      hoverinfo: "skip", marker: { size: 15, symbol: "circle-open", color: colour, line: { width: 1.5 } } });
  });
  const across = { type: "line", xref: "paper", x0: 0, x1: 1, line: { width: 1, color: "#888" } };
  draw(place, traces, {
    height: 470 + 20 * named.size, margin: { l: 50, r: 48, t: 8, b: 40 },
    legend: BELOW, shapes: [{ ...across, y0: story.bound, y1: story.bound }, { ...across, yref: "y2", y0: 0, y1: 0 },
      { ...across, type: "rect", yref: "y2", y0: story.below, y1: story.above, layer: "below", fillcolor: COLOURS[2], opacity: 0.15, line: { width: 0 } }],
    annotations: [{ xref: "paper", x: 1, xshift: 2, xanchor: "left", y: Math.log10(story.bound), showarrow: false, text: `≥ ${+story.bound.toPrecision(4)}` }],
    xaxis: { title: { text: "seeds" }, anchor: "y2", range: [0.5, story.looks + 0.5], ...counted(story.looks), zeroline: false },
    yaxis: { title: { text: "evidence E" }, type: "log", domain: [0.44, 1], range: story.evidence_limits.map(Math.log10), dtick: 1, exponentformat: "none" },
    yaxis2: { title: { text: "change, %" }, domain: [0, 0.38], range: story.change_limits, zeroline: false },
  });
}

function drawSpread(place, plans) {
  const style = getComputedStyle(document.documentElement), colours = new Map();
  const y = [], bars = [], names = [], annotations = [];
  const lines = plans.reduce((count, plan) => count + plan.rows.length + 1, 0);
  let at = lines;
  plans.forEach((plan) => {
    annotations.push({ xref: "paper", x: 0, xanchor: "left", y: at, text: short(plan.label), font: { weight: "bold" }, showarrow: false });
    at -= 1;
    plan.rows.forEach((row, index) => {
      if (!colours.has(row.source)) colours.set(row.source, index ? COLOURS[(colours.size - 1) % COLOURS.length] : "#888888");
      y.push(at);
      bars.push(row);
      names.push(`${row.source}, n=${row.n}`);
      if (index && row.share !== null && row.std !== null) annotations.push({ x: 100 * (row.high ?? row.std), y: at, xanchor: "left", xshift: 4,
        text: `${(100 * row.share).toFixed(0)} %`, showarrow: false });
      at -= 1;
    });
  });
  const std = bars.map((row) => (row.std === null ? null : 100 * row.std));
  const bound = (end) => bars.map((row) => (row[end] === null || row.std === null ? 0 : 100 * Math.abs(row[end] - row.std)));
  const text = bars.map((row) => (row.std === null ? "" : `${(100 * row.std).toFixed(2)} %` +
    (row.low === null ? "" : ` [${(100 * row.low).toFixed(2)}, ${(100 * row.high).toFixed(2)}]`)));
  draw(place, [{ type: "bar", orientation: "h", x: std, y, text, textposition: "none", width: 0.62, customdata: names,
    hovertemplate: "%{customdata}<br>std %{text}<extra></extra>", marker: { color: bars.map((row) => colours.get(row.source)) },
    error_x: { type: "data", symmetric: false, array: bound("high"), arrayminus: bound("low"), thickness: 1.5, width: 0, color: style.getPropertyValue("--ink") } }], {
    height: Math.max(220, 24 * lines + 70), showlegend: false, annotations, margin: { l: 50, r: 12, t: 8, b: 30 },
    xaxis: { ticksuffix: " %", range: [0, 1.16 * Math.max(...bars.map((row) => 100 * (row.high ?? row.std ?? 0)))], zeroline: false },
    yaxis: { tickvals: y, ticktext: names, showgrid: false, zeroline: false, range: [0.3, lines + 0.7] },
  });
}

function drawSearch(place, search) {
  const plans = Object.entries(search.curves), last = Math.max(...plans.map(([, values]) => values.length));
  const traces = plans.map(([name, values], index) => ({ type: "scatter", mode: "lines+markers", name: legible(name, place), showlegend: true,
    x: values.map((_, at) => at + 1), y: values, line: { color: COLOURS[index % COLOURS.length], width: 2 },
    marker: { size: 7, symbol: MARKS[index % MARKS.length] },
    hovertemplate: `${plain(name)}<br>best of %{x}: %{y:.5g}<extra></extra>` }));
  draw(place, traces, {
    height: 380 + 20 * plans.length, legend: BELOW,
    xaxis: { title: { text: "trials n" }, range: [0.5, last + 0.5], ...counted(last), zeroline: false },
    yaxis: { title: { text: `expected best valid ${search.name}` } },
  });
}

// a figure of its own below the tables: a caption, further lines, and what is drawn, if anything
function chart(name, lines, small, drawing) {
  const made = element("figure", null, document.getElementById("documents"), name);
  const caption = element("figcaption", null, made), [first, ...others] = lines;
  element("span", first, caption);
  others.forEach((line) => element("div", line, caption));
  if (!drawing) return;
  element("small", ` ${small}`, others.length ? element("div", null, caption) : caption);
  const place = element("div", null, made, "plot");
  drawings.push(() => drawing(place));
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
  if (chosen.size) drawings.push(redraw);
  else find(".curves").remove();
  if (table.forest?.rows.length) {
    find(".forest figcaption span").textContent = table.forest.about;
    drawings.push(() => drawForest(find(".forest .plot"), table.forest.rows));
  } else find(".forest").remove();
  if (table.spread.length) drawings.push(() => drawSpread(find(".spread .plot"), table.spread));
  else find(".spread").remove();
}

const wish = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(wish.matches);
wish.addEventListener("change", () => setTheme(wish.matches));
document.getElementById("theme").addEventListener("click", () => setTheme(!document.documentElement.classList.contains("dark")));
data.tables.forEach(section);
data.decisions.forEach(({ lines, story }) => chart("decision", lines,
  story && `solid: evidence for a difference in ${story.metric}, dashed: for equal within ${story.margin}, line: what decides; below: the difference, its interval, the margin`,
  story && ((place) => drawDecision(place, story))));
data.searches.forEach((search) => chart("search", [`Best of n trials${search.about && `: ${search.about}`}`],
  "what the best valid score of n trials is expected to be", (place) => drawSearch(place, search)));
data.failures.forEach((failure) => element("li", failure, document.getElementById("failures")));
drawings.forEach((draw) => draw());
document.documentElement.dataset.ready = "yes";

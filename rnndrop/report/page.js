const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(document.getElementById("datatables").textContent), (sign) => sign.charCodeAt(0));
const address = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);

const COLOURS = { // of Okabe and Ito; in the dark their lighter ones
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07A00", "#3A9BDC", "#7A7A00", "#6B7077"],
  dark: ["#56B4E9", "#FF9D5C", "#4FD0A5", "#E3A3C7", "#F0C24B", "#9AD2F2", "#C8C84A", "#B4B9BF"],
};
const MARKS = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚", x: "✖", star: "★" };
const FIRST = 5; // curves that are drawn unasked
const ROWS = 25; // of a table, on one page
const FEW = 4; // lines whose bands do not hide one another
const drawings = []; // made when all figures are there: then each has its width

function element(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text; // never innerHTML: names come from users
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}

const markup = (text) => element("i", text).innerHTML; // for what can only be given as markup
const dark = () => document.documentElement.classList.contains("dark");
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// the colour and the mark of the line in a slot: a mark tells lines apart where colours do not
function look(slot) {
  const colours = COLOURS[dark() ? "dark" : "light"], marks = Object.keys(MARKS);
  const again = Math.floor(slot / colours.length); // then a colour comes with another mark
  return { colour: colours[slot % colours.length], mark: marks[(slot + again) % marks.length] };
}

function layout(more) {
  const ink = token("--ink"), line = token("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const axes = Object.keys(more).filter((key) => /^[xy]axis/.test(key)).map((key) => [key, { ...axis, ...more[key], title: { standoff: 10, ...more[key].title } }]);
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
    hoverlabel: { bgcolor: token("--panel"), bordercolor: line, font: { color: ink } },
    margin: { l: 50, r: 12, t: 8, b: 40 }, hovermode: "closest", ...more, ...Object.fromEntries(axes),
  };
}

const draw = (place, traces, more) => Plotly.react(place, traces, layout(more), { responsive: true, displayModeBar: false });

// which lines of a figure a reader has hidden
const hidden = (place) => (place.unseen ??= new Set());

// the legend is text below the figure, which wraps where a plot's own would cover something
function legend(place, entries, redraw) {
  const list = place.parentElement.querySelector(".legend") ?? element("ul", null, place.parentElement, "legend");
  list.replaceChildren();
  entries.forEach(({ id, name, full, slot }, at) => {
    const button = element("button", null, element("li", null, list)), { colour, mark } = look(slot), unseen = hidden(place);
    element("span", `${MARKS[mark]} `, button).style.color = colour;
    button.append(name);
    button.type = "button";
    button.title = full ?? name;
    button.setAttribute("aria-pressed", !unseen.has(id));
    button.addEventListener("click", () => {
      unseen.has(id) ? unseen.delete(id) : unseen.add(id);
      redraw();
      list.querySelectorAll("button")[at]?.focus(); // it has been made anew
    });
  });
}

// whole numbers on an axis that counts up to `last`
function counted(last) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => last <= 10 * size) ?? 5000;
  return { tick0: step > 1 ? 0 : 1, dtick: step };
}

// plotly reads a few tags in texts, some as styles that the page's policy forbids, and DataTables what looks like an entity where it filters: take away what starts one
const plain = (text) => text.replaceAll("<", "‹").replaceAll(">", "›").replaceAll("&", "＆");

const short = (label, limit = 34) => plain(label.length > limit ? label.slice(0, limit - 1) + "…" : label);

// a label in lines of about `limit` characters
function wrapped(label, limit) {
  const lines = [""];
  plain(label).split(" ").forEach((word) => {
    const last = lines.at(-1);
    if (!last) lines[lines.length - 1] = word;
    else if (last.length + word.length < limit) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  });
  return lines.map((line) => short(line, limit + 6));
}

// from below to above of what is drawn, as a polygon
function band(x, middle, std, colour) {
  const upper = middle.map((value, at) => value + std[at]), lower = middle.map((value, at) => value - std[at]);
  return { type: "scatter", mode: "lines", x: [...x, ...x.toReversed()], y: [...upper, ...lower.toReversed()], fill: "toself",
    fillcolor: `${colour}26`, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
}

const middle = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

// where the valid curves are: first epochs may be far above, train far below, and a plan that learned nothing out of sight
function span(curves) {
  const every = curves.map((curve) => curve.valid.filter((value) => value !== null)).filter((values) => values.length);
  if (!every.length) return null;
  const centre = middle(every.map((values) => values.at(-1))), usual = centre > 0 ? 2 * centre : Infinity;
  const valid = every.filter((values) => values.at(-1) <= usual);
  const low = Math.min(...valid.flat()), last = Math.max(...valid.map((values) => values.at(-1)));
  const high = Math.min(Math.max(...valid.flat()), Math.max(last, low + 4 * (Math.max(...valid.map(middle)) - low)));
  const margin = 0.06 * (high - low) || 0.02 * Math.abs(low) || 1;
  return [low - margin, high + margin];
}

function drawCurves(place, table, chosen) {
  const shown = [...chosen].filter(([run]) => !hidden(place).has(run)), traces = [];
  const range = span(shown.map(([run]) => table.groups[run].curve)), floor = table.floor_valid;
  const above = (run) => range && Math.min(...table.groups[run].curve.valid.filter((value) => value !== null)) > range[1];
  shown.forEach(([run, slot]) => {
    const { label, curve } = table.groups[run], { colour, mark } = look(slot), x = curve.epochs;
    const seeds = `${curve.seeds} seed${curve.seeds > 1 ? "s" : ""}`, several = curve.seeds > 1;
    const shared = { type: "scatter", x, showlegend: false };
    const hover = `${plain(label)}<br>epoch %{x} · ${seeds}<br>`;
    if (several && !above(run)) traces.push({ ...band(x, curve.valid, curve.valid_std, colour), name: "band" });
    traces.push({ ...shared, name: "valid", mode: "lines+markers", y: curve.valid, line: { color: colour, width: 2 }, marker: { size: 6, symbol: mark, maxdisplayed: x.length > 30 ? 12 : 0 },
      customdata: curve.valid_std, hovertemplate: hover + `valid %{y:.5g}${several ? " ± %{customdata:.2g}" : ""}<extra></extra>` });
    traces.push({ ...shared, name: "train", mode: x.length > 1 ? "lines" : "markers", y: curve.train, line: { color: colour, width: 1, dash: "dash" },
      hovertemplate: hover + "train %{y:.5g}<extra></extra>" });
  });
  const shapes = [], annotations = [];
  if (floor && range) {
    const near = floor > range[0] - 0.8 * (range[1] - range[0]);
    const text = `${near ? "floor" : "↓ floor"} ${+floor.toPrecision(4)}`;
    if (near) range[0] = Math.min(range[0], floor - 0.03 * (range[1] - floor));
    if (near) shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: { dash: "dot", width: 1, color: token("--zero") } });
    annotations.push({ xref: "paper", x: 0, xanchor: "left", yanchor: "bottom", ...(near ? { y: floor } : { yref: "paper", y: 0 }), text, showarrow: false, font: { color: token("--soft") } });
  }
  const last = Math.max(1, ...shown.flatMap(([run]) => table.groups[run].curve.epochs));
  draw(place, traces, {
    height: 380, shapes, annotations,
    xaxis: { title: { text: "epoch" }, ...counted(last), range: [1 - 0.02 * last, last + 0.02 * last], zeroline: false },
    yaxis: { title: { text: data.title }, ...(range && { range }), zeroline: false },
  });
  legend(place, [...chosen].map(([run, slot]) => ({ id: run, name: table.groups[run].brief + (above(run) ? " ↑ above" : ""), full: table.groups[run].label, slot })),
    () => drawCurves(place, table, chosen));
}

// the first rows, and a button for the rest
function drawForest(place, every) {
  const rows = every.slice(0, place.whole ? Infinity : ROWS), button = place.parentElement.querySelector(".all");
  if (rows.length < every.length && !button) {
    const more = element("button", `all ${every.length} rows`, place.parentElement, "all");
    more.type = "button";
    more.addEventListener("click", () => { place.whole = true; more.remove(); drawForest(place, every); });
  }
  const narrow = place.clientWidth < 500, { colour: better } = look(0), { colour: worse } = look(1), zero = token("--zero");
  const limit = Math.min(40, Math.max(20, Math.floor(place.clientWidth / 16))), names = rows.map((row) => wrapped(row.brief, limit));
  let depth = 4; // a unit of the axis is a pixel: a name of several lines takes more
  const y = names.map((lines) => { const height = 13 * lines.length + 11; depth += height; return -(depth - height / 2); });
  depth += 4;
  const sure = rows.map(({ p }) => p !== null && p < 0.05);
  const colour = rows.map(({ gain }, index) => (!sure[index] ? zero : gain ? better : worse));
  const ends = [0, ...rows.flatMap((row) => [row.change, row.low, row.high])].filter((value) => value !== null); // zero is always there
  const far = 5 * ends.map(Math.abs).toSorted((a, b) => a - b)[Math.floor(0.7 * ends.length)] || Infinity; // beyond: an arrow at the edge
  const within = (value) => Math.max(-far, Math.min(far, value)), beyond = (value) => within(value) !== value;
  const bound = (end) => rows.map((row) => { // one that goes on beyond the edge is cut off there, and has no end
    const reach = row[end] === null ? 0 : row[end] - within(row.change);
    return Math.max(0, end === "low" ? -reach : reach);
  });
  const text = rows.map((row) => `${wrapped(row.label, 50).join("<br>")}<br>${row.change.toFixed(2)} %` +
    (row.low === null ? "" : ` [${row.low.toFixed(2)}, ${row.high.toFixed(2)}]`) +
    (row.p === null ? "" : `<br>Holm p = ${row.p.toPrecision(2)}, df ${row.df}`));
  const low = Math.min(...ends.map(within)), high = Math.max(...ends.map(within)), margin = 0.06 * (high - low || 1);
  const counts = rows.map(({ df }, index) => ({ xref: "paper", x: 1.01, xanchor: "left", y: y[index], text: df, showarrow: false }));
  counts.push({ xref: "paper", x: 1.01, xanchor: "left", yref: "paper", y: 1, yanchor: "bottom", text: "df", showarrow: false });
  const dots = { type: "scatter", mode: "markers", x: rows.map(({ change }) => within(change)), y, text, hovertemplate: "%{text}<extra></extra>",
    error_x: { type: "data", symmetric: false, array: bound("high"), arrayminus: bound("low"), thickness: 1.5, width: 0, color: zero },
    marker: { size: 9, symbol: rows.map(({ change }) => (!beyond(change) ? "circle" : change < 0 ? "triangle-left" : "triangle-right")), color: colour.map((each, index) => (sure[index] ? each : token("--paper"))), line: { width: 2, color: colour } } };
  draw(place, [dots], {
    height: depth + 74, showlegend: false, annotations: counts,
    margin: { l: 50, r: narrow ? 36 : 44, t: 24, b: 40 },
    shapes: [{ type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, layer: "below", line: { width: 2, color: zero } }],
    xaxis: { ticksuffix: " %", nticks: narrow ? 4 : 8, range: [low - margin, high + margin], zeroline: false, tickangle: 0 },
    yaxis: { tickvals: y, ticktext: names.map((lines) => lines.join("<br>")), tickfont: { size: 11 }, showgrid: false, zeroline: false, range: [-depth, 0] },
  });
}

// the lines of one location: those of most rates in colour, all others thin
function drawRates(place, rates, location) {
  const lines = rates.lines.filter((line) => line.location === location), slots = Object.keys(MARKS).length;
  const traces = lines.map((line, slot) => ({ line, slot })).filter(({ slot }) => !hidden(place).has(`${location} ${slot}`)).toReversed().flatMap(({ line, slot }) => {
    const named = slot < slots, { colour, mark } = named ? look(slot) : { colour: token("--zero"), mark: "circle" };
    const main = { type: "scatter", mode: "lines+markers", x: line.p, y: line.mean, customdata: line.std.map((std) => (std === null ? "" : ` ± ${std.toPrecision(2)}`)), showlegend: false, opacity: named ? 1 : 0.45,
      line: { color: colour, width: named ? 2 : 1 }, marker: { size: named ? 7 : 3, symbol: mark },
      hovertemplate: `${wrapped(line.label, 50).join("<br>")}<br>p=%{x}: %{y:.5g}%{customdata}<extra></extra>` };
    return lines.length <= FEW && line.std.every((value) => value !== null) ? [band(line.p, line.mean, line.std, colour), main] : [main];
  });
  draw(place, traces, {
    height: 380, xaxis: { title: { text: `rate p at ${location}` }, zeroline: false, rangemode: "tozero" },
    yaxis: { title: { text: rates.title }, zeroline: false },
  });
  legend(place, lines.slice(0, slots).map((line, slot) => ({ id: `${location} ${slot}`, name: line.label, slot })), () => drawRates(place, rates, location));
  if (lines.length > slots) element("li", `thin: ${lines.length - slots} more`, place.parentElement.querySelector(".legend"));
}

const SVG = "http://www.w3.org/2000/svg";
function vector(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const mixed = (from, to, share) => `#${[1, 3, 5].map((at) => {
  const [a, b] = [from, to].map((colour) => parseInt(colour.slice(at, at + 2), 16));
  return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
}).join("")}`;

// parallel coordinates: an axis for each setting that varies, its values in order, and one for the score.
// A line a row; lines through one value fan out by their rank, so that each can be followed.
function drawAxes(place, table, { axes, runs, score }) {
  const narrow = place.clientWidth < 500, width = Math.max(place.clientWidth, 74 * axes.length + 80), height = narrow ? 300 : 360, top = 46, bottom = 16, left = 30, right = 40;
  const step = (width - left - right) / axes.length, count = runs.length, asked = (place.asked ??= new Map());
  const order = runs.map((_, row) => row).toSorted((a, b) => (score.lower ? 1 : -1) * (score.values[a] - score.values[b]));
  const rank = new Map(order.map((row, at) => [row, count > 1 ? at / (count - 1) : 0]));
  const least = Math.min(...score.values), most = Math.max(...score.values), centre = middle(score.values);
  const low = score.lower ? least : Math.max(least, most - 4 * (most - centre)), high = score.lower ? Math.min(most, least + 4 * (centre - least)) : most;
  const down = (share) => height - bottom - share * (height - top - bottom);
  const scored = (value) => down(high > low ? (Math.max(low, Math.min(value, high)) - low) / (high - low) : 0.5);
  const kinds = axes.map(({ values }) => [...new Set(values)].toSorted((a, b) => (typeof a === "number" ? a - b : a < b ? -1 : 1)));
  const level = (axis, value) => down(kinds[axis].length > 1 ? 0.04 + (0.92 * kinds[axis].indexOf(value)) / (kinds[axis].length - 1) : 0.5);
  const fan = kinds.map((values) => Math.min(26, (0.6 * (height - top - bottom)) / values.length));
  const [better, neutral, worse] = [look(0).colour, token("--line"), look(1).colour];
  const colour = (row) => (rank.get(row) < 0.5 ? mixed(better, neutral, 2 * rank.get(row)) : mixed(neutral, worse, 2 * rank.get(row) - 1));
  const kept = (row) => axes.every(({ values }, axis) => !asked.get(axis)?.size || asked.get(axis).has(values[row]));
  const x = (axis) => left + axis * step, said = place.parentElement.querySelector(".said"), number = (value) => +value.toPrecision(4);
  const names = (row) => `${table.groups[runs[row]].label}: ${score.name} ${number(score.values[row])}`;
  const rest = () => {
    const own = order.filter(kept);
    said.textContent = own.length === count ? "" : own.length ? `${own.length} of ${count} rows; the best of them is ${names(own[0])}` : "no row has all of these";
  };

  place.replaceChildren();
  const svg = vector("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `${axes.map(({ name }) => name).join(", ")} and ${score.name}` }, place);
  order.toReversed().forEach((row) => {
    const points = axes.map(({ values }, axis) => [x(axis), level(axis, values[row]) + (0.5 - rank.get(row)) * fan[axis]]);
    points.push([x(axes.length), scored(score.values[row])]);
    const d = points.map(([px, py], at) => (at ? `C${px - step / 2},${points[at - 1][1]} ${px - step / 2},${py} ${px},${py}` : `M${px},${py}`)).join("");
    const drawn = kept(row), thick = drawn ? (asked.size ? 2.2 : 1.6) : 1;
    const line = vector("path", { d, stroke: colour(row), "stroke-width": thick, "stroke-opacity": drawn ? 0.9 : 0.12, "data-run": runs[row], ...(drawn && { class: "kept" }) }, svg);
    line.addEventListener("pointerenter", () => { line.setAttribute("stroke-width", 4); said.textContent = names(row); });
    line.addEventListener("pointerleave", () => { line.setAttribute("stroke-width", thick); rest(); });
  });
  const heading = (axis, text) => vector("text", { class: "title", x: axis === axes.length ? width - 2 : axis ? x(axis) : 2, y: axis % 2 && step < 90 ? 14 : 30,
    "text-anchor": axis === axes.length ? "end" : axis ? "middle" : "start" }, svg, text);
  axes.forEach(({ name }, axis) => {
    vector("line", { x1: x(axis), x2: x(axis), y1: top - 6, y2: height - bottom + 6 }, svg);
    heading(axis, short(name, 18));
    const shown = kinds[axis], every = Math.ceil(shown.length / 12);
    shown.forEach((value, at) => {
      if (at % every) return;
      const text = short(String(value), 14), half = 3.4 * text.length + 4, centre = Math.max(x(axis), half + 1), own = asked.get(axis) ?? new Set();
      const group = vector("g", { class: own.has(value) ? "value chosen" : "value", tabindex: 0, role: "button", "data-at": `${axis} ${at}`, "aria-pressed": own.has(value), "aria-label": `${name} ${value}` }, svg);
      vector("rect", { x: centre - half, y: level(axis, value) - 8, width: 2 * half, height: 16, rx: 4 }, group);
      vector("text", { x: centre, y: level(axis, value) + 4, "text-anchor": "middle" }, group, text);
      const choose = () => {
        own.has(value) ? own.delete(value) : own.add(value);
        own.size ? asked.set(axis, own) : asked.delete(axis);
        drawAxes(place, table, { axes, runs, score });
        place.querySelector(`[data-at="${axis} ${at}"]`).focus(); // it has been made anew
      };
      group.addEventListener("click", choose);
      group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
    });
  });
  vector("line", { x1: x(axes.length), x2: x(axes.length), y1: top - 6, y2: height - bottom + 6 }, svg);
  heading(axes.length, narrow ? score.name.split(" ")[0] : score.name);
  [0, 0.25, 0.5, 0.75, 1].forEach((share) => {
    const value = low + share * (high - low);
    vector("text", { x: x(axes.length) + 5, y: down(share) + 4 }, svg, `${share === 1 && most > high ? "≥" : share === 0 && least < low ? "≤" : ""}${+value.toPrecision(value < 1000 ? 3 : 4)}`);
  });
  rest();
}

// above the evidence, up to what decides; below the difference with its interval, before the margin
function drawDecision(place, story) {
  const traces = [], entries = [], named = new Set(), plans = Object.keys(story.compared), apart = Math.min(0.12, 0.6 / plans.length);
  const ends = Object.fromEntries(story.courses.filter(({ end }) => end).map(({ plan, end }) => [plan, `: ${end}`]));
  story.courses.forEach((course) => {
    const { colour, mark } = look(course.plan);
    if (!named.has(course.plan)) entries.push({ id: course.plan, name: story.compared[course.plan] + (ends[course.plan] ?? ""), slot: course.plan });
    named.add(course.plan);
    if (hidden(place).has(course.plan)) return;
    const shared = { type: "scatter", mode: "lines+markers", showlegend: false };
    const hover = (what) => `${plain(course.label)}<br>%{customdata} seeds · ${what}<extra></extra>`;
    traces.push({ ...shared, x: course.seeds, y: course.differ, customdata: course.seeds,
      line: { color: colour, width: 2 }, marker: { size: 7, symbol: mark }, hovertemplate: hover("E for a difference: %{y:.3g}") });
    traces.push({ ...shared, x: course.seeds, y: course.equal, customdata: course.seeds,
      line: { color: colour, width: 1.5, dash: "dash" }, marker: { size: 7, symbol: `${mark}-open` },
      hovertemplate: hover(`E for equal within ${story.margin}: %{y:.3g}`) });
    const bounds = (end) => course[end].map((value, look) => (value === null || course.change[look] === null ? 0 : Math.abs(value - course.change[look])));
    const text = course.change.map((value, look) => (value === null ? "" : `${value.toFixed(2)} %` +
      (course.low[look] === null ? "" : ` [${course.low[look].toFixed(2)}, ${course.high[look].toFixed(2)}]`)));
    const x = course.seeds.map((seeds) => seeds + apart * (plans.indexOf(`${course.plan}`) - (plans.length - 1) / 2));
    traces.push({ ...shared, x, y: course.change, customdata: course.seeds, text, yaxis: "y2",
      line: { color: colour, width: 1.5 }, marker: { size: 7, symbol: mark }, hovertemplate: hover("%{text}"),
      error_y: { type: "data", symmetric: false, array: bounds("high"), arrayminus: bounds("low"), thickness: 1.5, width: 0 } });
    if (course.end) traces.push({ ...shared, mode: "markers", x: course.seeds.slice(-1), y: [course.deciding],
      hoverinfo: "skip", marker: { size: 15, symbol: "circle-open", color: colour, line: { width: 1.5 } } });
  });
  const across = { type: "line", xref: "paper", x0: 0, x1: 1, line: { width: 1, color: token("--zero") } };
  draw(place, traces, {
    height: 470, margin: { l: 50, r: 48, t: 8, b: 40 },
    shapes: [{ ...across, y0: story.bound, y1: story.bound }, { ...across, yref: "y2", y0: 0, y1: 0 },
      { ...across, type: "rect", yref: "y2", y0: story.below, y1: story.above, layer: "below", fillcolor: look(2).colour, opacity: 0.15, line: { width: 0 } }],
    annotations: [{ xref: "paper", x: 1, xshift: 2, xanchor: "left", y: Math.log10(story.bound), showarrow: false, text: `≥ ${+story.bound.toPrecision(4)}` }],
    xaxis: { title: { text: "seeds" }, anchor: "y2", range: [0.5, story.looks + 0.5], ...counted(story.looks), zeroline: false },
    yaxis: { title: { text: "evidence E" }, type: "log", domain: [0.44, 1], range: story.evidence_limits.map(Math.log10), dtick: 1, exponentformat: "none" },
    yaxis2: { title: { text: "change, %" }, domain: [0, 0.38], range: story.change_limits, zeroline: false },
  });
  legend(place, entries, () => drawDecision(place, story));
}

function drawSpread(place, plans) {
  const colours = new Map();
  const y = [], bars = [], names = [], annotations = [];
  const lines = plans.reduce((count, plan) => count + plan.rows.length + 1, 0);
  let at = lines;
  plans.forEach((plan) => {
    annotations.push({ xref: "paper", x: 0, xanchor: "left", y: at, text: short(plan.label, Math.floor(place.clientWidth / 8)), font: { weight: "bold" }, showarrow: false });
    at -= 1;
    plan.rows.forEach((row, index) => {
      if (!colours.has(row.source)) colours.set(row.source, index ? look(colours.size - 1).colour : token("--zero"));
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
    error_x: { type: "data", symmetric: false, array: bound("high"), arrayminus: bound("low"), thickness: 1.5, width: 0, color: token("--ink") } }], {
    height: Math.max(220, 24 * lines + 70), showlegend: false, annotations, margin: { l: 50, r: 12, t: 8, b: 30 },
    xaxis: { ticksuffix: " %", range: [0, 1.16 * Math.max(...bars.map((row) => 100 * (row.high ?? row.std ?? 0)))], zeroline: false },
    yaxis: { tickvals: y, ticktext: names, showgrid: false, zeroline: false, range: [0.3, lines + 0.7] },
  });
}

function drawSearch(place, search) {
  const plans = Object.entries(search.curves), last = Math.max(...plans.map(([, values]) => values.length));
  const shown = plans.map(([name, values], slot) => ({ name, values, slot })).filter(({ slot }) => !hidden(place).has(slot));
  const traces = shown.map(({ name, values, slot }) => ({ type: "scatter", mode: "lines+markers", showlegend: false,
    x: values.map((_, at) => at + 1), y: values, line: { color: look(slot).colour, width: 2 }, marker: { size: 7, symbol: look(slot).mark },
    hovertemplate: `${plain(name)}<br>best of %{x}: %{y:.5g}<extra></extra>` }));
  draw(place, traces, {
    height: 380,
    xaxis: { title: { text: "trials n" }, range: [0.5, last + 0.5], ...counted(last), zeroline: false },
    yaxis: { title: { text: `expected best valid ${search.name}` } },
  });
  legend(place, plans.map(([name], slot) => ({ id: slot, name, slot })), () => drawSearch(place, search));
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
  for (const [name, value, usual] of pairs) {
    const row = element("tr", null, place);
    element("th", name, row);
    element("td", value, row);
    if (usual !== undefined) element("td", `instead of ${usual}`, row, "default");
  }
}

const lost = new Map(data.lost.rows.map((row, index) => [`${row.run_id}/${row.seed}`, index]));
const reason = (run, seed) => lost.get(`${run}/${seed}`);

function link(text, index, parent) {
  const made = element("a", text, parent);
  made.href = `#lost-${index}`;
  made.title = data.lost.rows[index].end;
  return made;
}

function detail(table, run) {
  const group = table.groups[run], made = element("div", null, null, "detail");
  const own = Object.entries({ ...table.common, ...group.settings }), usual = (name) => data.defaults[name] ?? "null";
  element("h3", "Changed from the defaults", made);
  const changed = own.filter(([name, value]) => usual(name) !== value);
  settings(element("table", null, made, "settings changed"), changed.map(([name, value]) => [name, value, usual(name)]));
  if (!changed.length) element("p", "nothing", made);
  element("h3", "To run it again", made);
  const command = element("code", group.reproduce, made);
  const copy = element("button", "copy", made);
  copy.addEventListener("click", () => {
    if (navigator.clipboard) navigator.clipboard.writeText(command.textContent).then(() => (copy.textContent = "copied"));
    else getSelection().selectAllChildren(command); // a page that came over http may not write there
  });
  element("h3", "Runs", made);
  const runs = element("table", null, element("div", null, made, "grid"), "settings");
  const head = element("tr", null, runs);
  ["seed", "status", "valid", "test", "computed on", "folder"].forEach((name) => element("th", name, head));
  const number = (value) => (value === null ? "" : value.toPrecision(5));
  group.runs.forEach((each) => {
    const row = element("tr", null, runs), where = data.environments[each.environment], index = each.status === "finished" ? undefined : reason(run, each.seed);
    const about = [where.device_name ?? where.device, where.host, ...["torch", "rnndrop"].map((name) => where[name] && `${name} ${where[name]}`), `rev ${where.revision}`];
    const place = where.torch === undefined ? "" : about.filter(Boolean).join(" · "); // it failed before it could begin; a CSV has no host
    element("td", each.seed, row);
    const status = element("td", index === undefined ? each.status : null, row);
    if (index !== undefined) link(`${each.status}: ${data.lost.rows[index].end}`, index, status);
    [number(each.valid), number(each.test), place, each.folder].forEach((text) => element("td", text, row));
  });
  const further = element("details", null, made);
  element("summary", "All other settings, at their defaults", further);
  settings(element("table", null, further, "settings"), own.filter(([name, value]) => usual(name) === value));
  return made;
}

// how many columns stand beyond the right edge, and a shadow at the edges that hide some
function watchEdges(frame) {
  const box = frame.querySelector(".dt-layout-full"), button = frame.querySelector(".further");
  const update = () => {
    const edge = box.getBoundingClientRect().right + 1;
    const beyond = [...box.querySelectorAll("thead th")].filter((head) => head.getBoundingClientRect().right > edge).length;
    button.hidden = !beyond;
    button.textContent = `${beyond} more column${beyond > 1 ? "s" : ""} ›`;
    frame.classList.toggle("more", beyond > 0);
    frame.classList.toggle("moved", box.scrollLeft > 0);
  };
  button.addEventListener("click", () => box.scrollBy({ left: 0.6 * box.clientWidth, behavior: "smooth" }));
  box.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(box);
  update();
}

// a name that breaks between its words, and within one, after = or _, only where it must
function breakable(text, place) {
  text.split(" ").forEach((word, at) => {
    if (at) place.append(" ");
    const whole = element("span", null, place, "word");
    word.split(/(?<=[=_])/).forEach((piece, part) => { if (part) element("wbr", null, whole); whole.append(piece); });
  });
}

// where there is little room, a cell breaks before its bracket, and nowhere else
const pieces = (text) => text.split(/ (?=[[(*])|(?<=,) (?=\S{9})/);

// a cell without a number is neither the lowest nor the highest
const ordered = (sign) => (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : sign * (a - b));
DataTable.type("blanks-last", "order", { asc: ordered(1), desc: ordered(-1) });

function section(table) {
  const made = document.getElementById("section").content.cloneNode(true).firstElementChild;
  document.getElementById("main").append(made);
  const find = (selector) => made.querySelector(selector);
  find("h2").textContent = table.constants;
  table.notes.forEach((note) => element("li", note, find(".notes")));
  table.warnings.forEach((warning) => element("li", warning, find(".warnings")));
  settings(find(".common table"), Object.entries(table.common));

  const drawn = (run) => run && table.groups[run]?.curve;
  const chosen = new Map(table.rows.map((row) => row.run).filter(drawn).slice(0, FIRST).map((run, slot) => [run, slot])); // a line keeps its colour
  const place = find(".curves .plot"), boxes = new Map();
  const redraw = () => {
    boxes.forEach((box, run) => (box.style.accentColor = chosen.has(run) ? look(chosen.get(run)).colour : ""));
    drawCurves(place, table, chosen);
  };
  const tick = (run, yes) => {
    if (yes) {
      let slot = 0;
      while ([...chosen.values()].includes(slot)) slot += 1;
      chosen.set(run, slot);
    } else chosen.delete(run);
    redraw();
  };

  const name = (cell, row) => {
    const whole = element("div", null, cell), group = table.groups[row.run];
    if (drawn(row.run)) {
      const box = element("input", null, whole);
      box.type = "checkbox";
      box.checked = chosen.has(row.run);
      if (box.checked) box.style.accentColor = look(chosen.get(row.run)).colour;
      box.title = "draw its curve";
      box.setAttribute("aria-label", `curve of ${group.label}`);
      box.addEventListener("change", () => tick(row.run, box.checked));
      boxes.set(row.run, box);
    } else element("span", null, whole, "space");
    const text = group ? element("button", null, whole) : element("span", null, whole);
    element("span", row.cells[0], text, "full");
    breakable(group?.brief ?? row.cells[0], element("span", null, text, "brief"));
    if (!group) return;
    cell.classList.add("open");
    text.title = group.label;
    text.setAttribute("aria-expanded", "false");
  };
  const counts = (index) => table.rows.some((row) => typeof row.values[index] === "number");
  const columns = table.columns.map((column, index) => ({
    title: markup(column.title), data: null,
    className: [index ? (column.left ? "dt-left" : "dt-right") : "label", column.first ? "first" : "", counts(index) ? "dt-type-numeric" : ""].join(" "),
    type: counts(index) ? "blanks-last" : "string",
    render: (row, type) => (type === "sort" || type === "type" ? row.values[index] ?? "" : type === "display" ? "" : plain(row.cells[index])),
    createdCell: (cell, _, row) => {
      cell.textContent = "";
      if (row.marks[index]) cell.classList.add(row.marks[index]);
      if (!index) return name(cell, row);
      const ends = column.title === "n" ? table.groups[row.run]?.runs.filter(({ status }) => status !== "finished").map(({ seed }) => reason(row.run, seed)).find((each) => each !== undefined) : undefined;
      if (ends !== undefined) link(row.cells[index], ends, cell);
      else if (column.first) pieces(row.cells[index]).forEach((piece, at) => { if (at) cell.append(" "); element("span", piece, cell); });
      else cell.textContent = row.cells[index];
    },
  }));
  if (table.floor) {
    const row = element("tr", null, element("tfoot", null, find(".frame table")));
    table.floor.forEach((text) => element("th", text, row));
  }
  const paged = table.rows.length > ROWS;
  const view = new DataTable(find(".frame table"), {
    data: table.rows, columns, order: [], pageLength: ROWS, lengthMenu: [10, ROWS, 100, -1], autoWidth: false, deferRender: true,
    paging: paged, search: { smart: true },
    layout: { topStart: "search", topEnd: null, bottomStart: paged ? ["info", "pageLength"] : null, bottomEnd: paged ? "paging" : null },
    language: { search: "", searchPlaceholder: "filter", lengthMenu: "_MENU_ on a page", info: "_START_ to _END_ of _TOTAL_ rows",
      infoFiltered: "(of _MAX_)", lengthLabels: { "-1": "all" } },
    createdRow: (row, content) => content.tone && row.classList.add(content.tone),
  });
  view.on("click", "td.open", (event) => {
    if (event.target.tagName === "INPUT") return;
    const line = event.target.closest("tr"), row = view.row(line);
    row.child.isShown() ? row.child.hide() : row.child(detail(table, row.data().run)).show();
    line.querySelector("button").setAttribute("aria-expanded", row.child.isShown());
  });
  watchEdges(find(".frame"));

  const figure = (name, there, drawing) => (there ? drawings.push(() => drawing(find(`.${name} .plot, .${name} .drawn`))) : find(`.${name}`).remove());
  figure("curves", chosen.size, redraw);
  figure("forest", table.forest?.rows.length, (at) => drawForest(at, table.forest.rows));
  if (table.forest?.rows.length) {
    find(".forest figcaption span").textContent = table.forest.about;
    find(".forest figcaption small").textContent = `per cent, ${table.forest.how}; filled: Holm p < .05`;
  }
  const select = find(".rates select"), places = [...new Set(table.rates?.lines.map(({ location }) => location))];
  if (table.rates) {
    find(".rates figcaption span").textContent = table.rates.title;
    places.forEach((each) => element("option", each, select));
    select.addEventListener("change", () => drawRates(find(".rates .plot"), table.rates, select.value));
    select.parentElement.hidden = places.length < 2;
  }
  figure("rates", table.rates, (at) => drawRates(at, table.rates, select.value));
  figure("axes", table.axes, (at) => drawAxes(at, table, table.axes));
  figure("spread", table.spread.length, (at) => drawSpread(at, table.spread));
}

function unfinished() {
  const { rows, errors, more } = data.lost, place = document.getElementById("failures"), list = place.querySelector("ul");
  place.hidden = !rows.length;
  rows.forEach((row, index) => {
    const item = element("li", null, list);
    item.id = `lost-${index}`;
    element("b", row.status, item);
    item.append(` ${row.what} seed ${row.seed}${row.end && `: ${row.end}`} `);
    if (row.show) element("code", row.show, item);
    if (errors[row.error].includes("\n")) {
      const whole = element("details", null, item);
      element("summary", "the whole error", whole);
      element("pre", errors[row.error], whole);
    }
  });
  if (more) element("li", `and ${more} more: rnndrop watch --once`, list);
}

const restyle = () => drawings.forEach((drawing) => drawing());
const setTheme = (yes) => { document.documentElement.classList.toggle("dark", yes); restyle(); };
const wish = window.matchMedia("(prefers-color-scheme: dark)");
wish.addEventListener("change", () => setTheme(wish.matches));
document.getElementById("theme").addEventListener("click", () => setTheme(!dark()));
let width = innerWidth;
window.addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; restyle(); } });
unfinished();
data.tables.forEach(section);
data.decisions.forEach(({ lines, story }) => chart("decision", lines,
  story && `solid: evidence for a difference in ${story.metric}, dashed: for equal within ${story.margin}, line: what decides; below: the difference, its interval, the margin`,
  story && ((place) => drawDecision(place, story))));
data.searches.forEach((search) => chart("search", [`Best of n trials${search.about && `: ${search.about}`}`],
  "what the best valid score of n trials is expected to be", (place) => drawSearch(place, search)));
restyle();
document.documentElement.dataset.ready = "yes";

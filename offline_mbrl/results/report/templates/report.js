"use strict";
// Draws the charts when they come into view, and makes tables sort and filter. Nothing is fetched.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => innerWidth < 640;
  const hidden = new Set();
  const charts = new Map(); // element -> a function that gives its traces and layout
  const drawn = new Set();
  const STEPS = { tickformat: "~s", nticks: 6, rangemode: "tozero", showgrid: false, ticks: "outside", showline: true };
  let printing = false;
  let smoothing = 1;

  const theme = () => (printing ? "light" : root.dataset.theme || (dark.matches ? "dark" : "light"));
  const colors = () => data.colors[theme()];
  const row = (place) => ({
    color: colors().lines[place % colors().lines.length],
    dash: data.colors.dashes[Math.floor(place / colors().lines.length) % data.colors.dashes.length],
  });
  const minus = (text) => String(text).replace(/-/g, "−");
  const clip = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
  const labels = (places) => places.map((place) => clip(data.rows[place], narrow() ? 18 : 30));
  const faint = (color, share) => color + Math.round(share * 255).toString(16).padStart(2, "0");

  function element(tag, content = "", attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = content;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function axis(title, more = {}) {
    const { muted, line, control } = colors();
    return {
      title: { text: title, font: { size: 12, color: muted }, standoff: 6 },
      gridcolor: line, gridwidth: 0.6, zeroline: false, showline: false, linecolor: control, tickcolor: control,
      tickfont: { size: 11, color: muted }, automargin: true, fixedrange: matchMedia("(pointer: coarse)").matches, ...more,
    };
  }

  function layout(xaxis, yaxis, more = {}) {
    const { ink, card, control } = colors();
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, xaxis, yaxis,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      margin: { l: 44, r: 24, t: 8, b: 40 }, separators: ".,",
      hoverlabel: { bgcolor: card, bordercolor: control, font: { color: ink, size: 12 }, namelength: 40 }, ...more,
    };
  }

  // The library runs when the first chart is drawn: the page can be read before.
  function plotly() {
    if (!window.Plotly) document.head.append(element("script", byId("plotly").textContent));
    return window.Plotly;
  }

  function draw(chart) {
    const { traces, layout } = charts.get(chart)();
    drawn.add(chart);
    const size = printing ? { width: chart.closest(".wide, .scroll") ? 680 : 330, height: chart.clientHeight } : {};
    plotly().react(chart, traces, { ...layout, ...size, autosize: !printing }, { displayModeBar: false, responsive: true });
    chart.dataset.drawn = "yes";
  }

  const redraw = () => drawn.forEach(draw);
  const watcher = new IntersectionObserver(
    (seen) => seen.filter((one) => one.isIntersecting && !drawn.has(one.target)).forEach((one) => draw(one.target)),
    { rootMargin: "300px" },
  );

  function chart(place, label, content) {
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", label);
    charts.set(place, content);
    if (document.readyState === "complete") watcher.observe(place);
  }

  function panel(parent, title, label, content, key = "") {
    const figure = element("figure");
    const place = element("div", "", { class: "chart" });
    figure.append(element("h3", title));
    if (key) figure.append(element("p", key, { class: "key" }));
    figure.append(place);
    parent.append(figure);
    chart(place, label, content);
    return place;
  }

  // Learning curves

  const trailing = (values, window) =>
    values.map((_, end) => {
      const part = values.slice(Math.max(0, end + 1 - window), end + 1).filter((value) => value !== null);
      return part.length ? part.reduce((sum, value) => sum + value, 0) / part.length : null;
    });

  function band(at, low, high, color) {
    return {
      x: [...at, ...[...at].reverse()], y: [...high, ...[...low].reverse()], fill: "toself", fillcolor: faint(color, 0.15),
      line: { width: 0 }, mode: "lines", hoverinfo: "skip", type: "scatter",
    };
  }

  function curveTraces(curve, crowd) {
    const seeds = curve.scores.map((seed) => trailing(seed, smoothing));
    const across = curve.at.map((_, place) => seeds.map((seed) => seed[place]).filter((score) => score !== null));
    const mean = across.map((scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length);
    const { color, dash } = row(curve.row);
    const line = {
      x: curve.at, y: mean, name: clip(data.rows[curve.row], 34), mode: curve.at.length > 20 ? "lines" : "lines+markers",
      line: { color, dash, width: 2 }, marker: { size: 5, color }, type: "scatter",
      hovertemplate: `%{y:.1f} (${curve.seeds})<extra>${clip(data.rows[curve.row], 34)}</extra>`, meta: curve.row,
    };
    if (seeds.length < 2 || crowd) return [line];
    return [band(curve.at, across.map((s) => Math.min(...s)), across.map((s) => Math.max(...s)), color), line];
  }

  function dataLine(column, curves) {
    const score = data.dataScores[column];
    const steps = curves.flatMap((curve) => [curve.at[0], curve.at[curve.at.length - 1]]);
    if (score === null || !steps.length) return [];
    return [{
      x: [Math.min(...steps), Math.max(...steps)], y: [score, score], mode: "lines", type: "scatter",
      line: { color: colors().control, width: 1.2, dash: "4px,3px" }, hoverinfo: "skip",
    }];
  }

  function curveChart(column) {
    const curves = data.curves.filter((curve) => curve.column === column && !hidden.has(curve.row));
    const traces = [...dataLine(column, data.curves.filter((curve) => curve.column === column)), ...curves.flatMap((curve) => curveTraces(curve, curves.length > 6))];
    return {
      traces,
      layout: layout(
        axis("gradient steps", STEPS),
        axis("normalized score", { nticks: 6 }),
        { hovermode: curves.length > 6 ? "closest" : "x unified" },
      ),
    };
  }

  data.columns.forEach((name, column) =>
    panel(byId("curve-panels"), name, `Learning curves on ${name}; the table of scores has the final values`, () => curveChart(column)));

  // The legend: one set of buttons per section, all in step

  function swatch(place) {
    const { color, dash } = row(place);
    const pattern = { solid: "", dash: "6 3", dashdot: "7 3 2 3", dot: "2 3" }[dash];
    return `<svg width="26" height="8" aria-hidden="true"><line x1="1" x2="25" y1="4" y2="4" stroke="${color}" stroke-width="3" stroke-dasharray="${pattern}"/></svg>`;
  }

  function fillLegend(legend) {
    legend.replaceChildren();
    if (data.rows.length > 3) {
      for (const [name, hide] of [["all", false], ["none", true]]) {
        const button = element("button", name, { type: "button" });
        button.onclick = () => {
          data.rows.forEach((_, place) => (hide ? hidden.add(place) : hidden.delete(place)));
          toggled();
        };
        legend.append(button);
      }
    }
    data.rows.forEach((name, place) => {
      const button = element("button", "", { type: "button", "aria-pressed": String(!hidden.has(place)), "data-row": place, title: name });
      button.innerHTML = swatch(place);
      button.append(element("span", clip(name, 40)));
      button.onclick = () => {
        if (!hidden.delete(place)) hidden.add(place);
        toggled();
      };
      legend.append(button);
    });
  }

  const legends = document.querySelectorAll(".legend");
  function toggled() {
    document.querySelectorAll(".legend [data-row]").forEach((button) =>
      button.setAttribute("aria-pressed", String(!hidden.has(Number(button.dataset.row)))));
    redraw();
  }

  byId("smoothing").oninput = (event) => {
    smoothing = Number(event.target.value);
    byId("window").textContent = smoothing > 1 ? `last ${smoothing} evaluations` : "none";
    redraw();
  };

  // Aggregates

  const found = data.aggregates;

  function estimateChart(statistic) {
    const traces = found.rows.map((place, number) => {
      const [value, low, high] = statistic.estimates[number];
      const bar = low === null ? {} : { error_x: { type: "data", symmetric: false, array: [high - value], arrayminus: [value - low], thickness: 3, width: 0, color: faint(row(place).color, 0.55) } };
      const interval = low === null ? "" : minus(` [${low.toFixed(1)}, ${high.toFixed(1)}]`);
      return {
        x: [value], y: [number], mode: "markers", type: "scatter", marker: { size: 10, color: row(place).color }, ...bar,
        hovertemplate: `${minus(value.toFixed(1))}${interval}<extra>${clip(data.rows[place], 34)}</extra>`,
      };
    });
    const ticks = { tickvals: found.rows.map((_, number) => number), ticktext: labels(found.rows), range: [found.rows.length - 0.5, -0.5], fixedrange: true };
    return {
      traces,
      layout: layout(axis("normalized score", { nticks: 5 }), axis("", { ...ticks, showgrid: false, ticks: "" }), { hovermode: "closest", height: 76 + 24 * Math.max(3, found.rows.length) }),
    };
  }

  // A line and its band for each row that is shown; `of` gives a row's x, value, low and high.
  function bandTraces(of, hover) {
    return found.rows.flatMap((place, number) => {
      const curve = of(number);
      if (hidden.has(place) || !curve) return [];
      const { x, value, low, high } = curve;
      const { color, dash } = row(place);
      const line = { x, y: value, mode: x.length > 1 ? "lines" : "markers", type: "scatter", line: { color, dash, width: 2 }, marker: { color }, hovertemplate: `${hover}<extra>${clip(data.rows[place], 34)}</extra>` };
      return low === null ? [line] : [band(x, low, high, color), line];
    });
  }

  function overStepsChart() {
    return {
      traces: bandTraces((number) => found.curves[number] && { x: found.curves[number].at, ...found.curves[number] }, "%{y:.1f} at %{x:,}"),
      layout: layout(axis("gradient steps", STEPS), axis("IQM of normalized scores", { nticks: 6 }), { hovermode: "closest" }),
    };
  }

  function profileChart() {
    return {
      traces: bandTraces((number) => ({ x: found.thresholds, ...found.profiles[number] }), "%{y:.2f} above %{x:.0f}"),
      layout: layout(axis("normalized score", { showgrid: false, ticks: "outside", showline: true }), axis("share of runs above", { range: [-0.02, 1.03] }), { hovermode: "closest" }),
    };
  }

  function heat(z, x, y, text, hover, limits, title, format) {
    const { diverging, muted, ink } = colors();
    return {
      type: "heatmap", z, x: x.map((_, place) => place), y: y.map((_, place) => place), text, texttemplate: "%{text}", textfont: { color: ink }, customdata: hover,
      hovertemplate: "%{customdata}<extra></extra>", hoverongaps: false, xgap: 2, ygap: 2, zmin: limits[0], zmax: limits[1],
      colorscale: [[0, diverging[0]], [0.5, diverging[1]], [1, diverging[2]]],
      colorbar: { thickness: 10, outlinewidth: 0, tickformat: format, tickfont: { size: 11, color: muted }, title: { text: title, side: "right", font: { size: 11, color: muted } } },
    };
  }

  function heatLayout(x, y, height) {
    const ticks = (names) => ({ tickvals: names.map((_, place) => place), ticktext: names, showgrid: false, fixedrange: true, ticks: "" });
    return layout(axis("", { ...ticks(x), tickangle: x.length > 6 || x.some((name) => name.length > 24) ? -35 : 0 }), axis("", { ...ticks(y), autorange: "reversed" }), { height });
  }

  function improvementChart() {
    const names = labels(found.rows);
    const z = found.improvements.map((line) => line.map((cell) => cell && cell[0]));
    const text = found.improvements.map((line) => line.map((cell) => (cell ? cell[0].toFixed(2) : "")));
    const hover = found.improvements.map((line, above) => line.map((cell, beside) => {
      if (!cell) return "";
      const interval = cell[1] === null ? "" : ` [${cell[1].toFixed(2)}, ${cell[2].toFixed(2)}]`;
      return `P(${names[above]} > ${names[beside]}) = ${cell[0].toFixed(2)}${interval}`;
    }));
    return { traces: [heat(z, names, names, text, hover, [0, 1], "probability", ".1f")], layout: heatLayout(names, names, 120 + 30 * names.length) };
  }

  if (found) {
    byId("aggregate-panels").classList.toggle("small", Math.max(...found.rows.map((place) => data.rows[place].length)) < 18);
    for (const statistic of found.statistics) {
      const title = statistic.name[0].toUpperCase() + statistic.name.slice(1);
      const place = panel(byId("aggregate-panels"), `${title}${statistic.lower ? " (lower is better)" : ""}`, `${statistic.name} of each system with its interval`, () => estimateChart(statistic));
      place.style.height = `${76 + 24 * Math.max(3, found.rows.length)}px`;
    }
    chart(byId("over-steps"), "Interquartile mean over all tasks against gradient steps", overStepsChart);
    chart(byId("profile"), "Performance profile: share of runs above each score", profileChart);
    if (byId("improvement")) {
      chart(byId("improvement"), "Probability that one system improves on another", improvementChart);
      byId("improvement").style.cssText = `height: ${120 + 30 * found.rows.length}px; min-width: ${220 + 46 * found.rows.length}px; max-width: ${400 + 70 * found.rows.length}px`;
    }
  }

  // Ours minus published

  function againstChart() {
    const cells = data.against.map((line) => line.cells);
    const z = cells.map((line) => line.map((cell) => cell && cell.difference));
    const text = z.map((line) => line.map((value) => (value === null ? "" : `${value > 0 ? "+" : ""}${minus(value.toFixed(1))}`)));
    const hover = cells.map((line, place) => line.map((cell, column) => cell ? `${data.against[place].name}, ${data.columns[column]}<br>ours ${minus(cell.ours)}, published ${minus(cell.theirs)}` : ""));
    const reach = Math.max(10, Math.min(60, ...[Math.max(...z.flat().map((value) => Math.abs(value || 0)))]));
    const names = data.against.map((line) => clip(line.name, narrow() ? 26 : 46));
    return { traces: [heat(z, data.columns, names, text, hover, [-reach, reach], "difference in points", "+d")], layout: heatLayout(data.columns, names, 130 + 30 * names.length) };
  }

  if (byId("against")) {
    chart(byId("against"), "Ours minus published scores; the table below has the numbers", againstChart);
    byId("against").style.cssText = `height: ${130 + 30 * data.against.length}px; min-width: ${260 + 56 * data.columns.length}px; max-width: ${420 + 150 * data.columns.length}px`;
  }

  // Training diagnostics

  function diagnosticChart(run, names) {
    const traces = run.seeds.flatMap((seed, number) => names.filter((name) => seed.series[name]).map((name) => ({
      x: seed.at, y: seed.series[name], mode: seed.at.length > 2 ? "lines" : "lines+markers", type: "scatter", marker: { size: 5 },
      line: { color: colors().lines[number % colors().lines.length], width: 1.6, dash: data.colors.dashes[names.indexOf(name) % 4] },
      hovertemplate: `%{y:.4~g}<extra>${name}, seed ${seed.seed}</extra>`,
    })));
    return { traces, layout: layout(axis("gradient steps", STEPS), axis(names.length > 1 ? "" : names[0], { nticks: 6, tickformat: "~g" }), { hovermode: "closest" }) };
  }

  function showRun() {
    const run = data.diagnostics.find((one) => one.row === Number(byId("run-row").value) && one.column === Number(byId("run-column").value));
    const place = byId("diagnostic-panels");
    for (const old of place.querySelectorAll(".chart")) { charts.delete(old); drawn.delete(old); watcher.unobserve(old); }
    place.replaceChildren();
    seedKey(run);
    const styles = ["—", "– –", "– ·", "···"];
    for (const [title, all] of Object.entries(data.panels)) {
      const names = all.filter((name) => run.seeds.some((seed) => seed.series[name]));
      const key = names.map((name, number) => `${styles[number % 4]} ${name}`).join("   ");
      if (names.length) panel(place, title, `${title} during training`, () => diagnosticChart(run, names), key);
    }
  }

  function seedKey(run) {
    byId("run-seeds").replaceChildren(...run.seeds.map((seed, number) => {
      const key = element("span");
      key.append(element("i", "", { style: `background: ${colors().lines[number % colors().lines.length]}` }), `seed ${seed.seed}`);
      return key;
    }));
  }

  function options(select, places, names) {
    const before = select.value;
    select.replaceChildren(...places.map((place) => element("option", names[place], { value: place })));
    if (before !== "" && places.includes(Number(before))) select.value = before;
  }

  const distinct = (values) => [...new Set(values)].sort((a, b) => a - b);
  if (byId("run-row")) {
    const columnsOf = () => distinct(data.diagnostics.filter((run) => run.row === Number(byId("run-row").value)).map((run) => run.column));
    options(byId("run-row"), distinct(data.diagnostics.map((run) => run.row)), data.rows);
    options(byId("run-column"), columnsOf(), data.columns);
    byId("run-row").onchange = () => { options(byId("run-column"), columnsOf(), data.columns); showRun(); };
    byId("run-column").onchange = showRun;
    showRun();
  }

  // Tables

  const value = (line, column) => line.cells[column].dataset.value ?? line.cells[column].textContent;
  function compare(a, b, up) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return up ? order : -order;
  }

  document.querySelectorAll(".sortable").forEach((table) => {
    table.querySelectorAll("thead th").forEach((head, column) => {
      head.querySelector("button").onclick = () => {
        const before = head.getAttribute("aria-sort");
        const up = before ? before === "descending" : !head.classList.contains("number");
        table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(value(a, column), value(b, column), up)));
      };
    });
  });

  const heads = [...document.querySelectorAll("#score-table th[data-task]")];
  const robots = [...new Set(heads.map((head) => head.dataset.task.split("-")[0]))];
  const kinds = [...new Set(heads.map((head) => head.dataset.task.split("-").slice(1).join("-")))];
  for (const [title, names] of [["robot", robots], ["data", kinds]]) {
    if (names.length < 2) continue;
    const group = element("optgroup", "", { label: title });
    group.append(...names.map((name) => element("option", name, { value: `${title}:${name}` })));
    byId("tasks").append(group);
  }

  function filter() {
    const part = byId("filter").value.trim().toLowerCase();
    const [kind, name] = byId("tasks").value.split(":");
    const lines = [...document.querySelectorAll("#score-table tbody tr")];
    lines.forEach((line) => (line.hidden = !line.dataset.name.toLowerCase().includes(part)));
    document.querySelectorAll("#score-table [data-task]").forEach((cell) => {
      const [robot, ...rest] = cell.dataset.task.split("-");
      cell.hidden = Boolean(kind) && name !== (kind === "robot" ? robot : rest.join("-"));
    });
    const shown = lines.filter((line) => !line.hidden).length;
    byId("shown").textContent = shown < lines.length ? `${shown} of ${lines.length} systems` : "";
  }
  byId("filter").oninput = filter;
  byId("tasks").onchange = filter;

  // Theme and print

  function recolor() {
    legends.forEach(fillLegend);
    if (byId("run-row")) seedKey(data.diagnostics.find((run) => run.row === Number(byId("run-row").value) && run.column === Number(byId("run-column").value)));
    redraw();
  }
  byId("theme").onclick = () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    recolor();
  };
  dark.addEventListener("change", recolor);
  addEventListener("beforeprint", () => {
    printing = true;
    [...charts.keys()].forEach((place) => drawn.add(place));
    recolor();
  });
  addEventListener("afterprint", () => {
    printing = false;
    recolor();
  });
  legends.forEach(fillLegend);
  addEventListener("load", () => setTimeout(() => charts.forEach((_, place) => watcher.observe(place))));
})();

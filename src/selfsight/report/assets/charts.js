"use strict";
// Charts as SVG. Colours come from the style sheet by role, so one drawing serves light, dark and paper. A chart says
// in words what it shows (for whoever does not see it) and reads out the value under the pointer or the arrow keys.

// A narrow screen gets a narrow drawing, so that its letters stay readable.
const WIDTH = matchMedia("(max-width: 600px)").matches ? 380 : 520;
const CHART = { width: 400, height: 190, left: 46, right: 10, top: 18, bottom: 24 };

// Three to six round values that cover [low, high].
function ticks(low, high, wanted = 4) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => span / s <= wanted + 0.5);
  const first = Math.ceil(low / step - 1e-9) * step;
  const found = [];
  for (let value = first; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

function scale(from, to, low, high) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function range(values, form) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (form === "share") {
    low = Math.min(0, low);
    high = Math.min(1, Math.max(high * 1.1, 0.1));
  } else if (form === "count") {
    low = 0;
    high = high * 1.08 || 1;
  } else {
    const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 0.1;
    low = low >= 0 && low < (high - low) ? 0 : low - room;
    high += room;
  }
  return [low, high];
}

function yAxis(svg, y, low, high, form, box = CHART) {
  for (const value of ticks(low, high)) {
    svg.append(drawn("line", { class: "grid", x1: box.left, x2: box.width - box.right, y1: y(value), y2: y(value) }));
    const text = form === "share" ? `${plain(value * 100)} %` : plain(value);
    svg.append(drawn("text", { class: "tick", x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
}

function legend(entries) {
  return element("p", { class: "legend" },
    entries.map(([name, role]) => element("span", { class: `key role-${role}` }, name)));
}

function framed(title, about, body, extra) {
  return element("figure", { class: "chart" },
    element("figcaption", {}, element("strong", {}, title), element("span", { class: "about" }, about)), body, extra);
}

// One curve over the steps of a run; the bands behind it say who learned.
function lineChart(curve, steps, stretches, perPoint) {
  const box = CHART;
  const points = curve.series.flatMap((series) => series.pieces.flat());
  const [low, high] = range(points.map(([, value]) => value), curve.form);
  const x = scale(box.left, box.width - box.right, 0, Math.max(1, steps - 1));
  const y = scale(box.height - box.bottom, box.top, low, high);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${box.width} ${box.height}`, role: "img", tabindex: 0 });
  svg.setAttribute("aria-label", `${curve.title}. ${curve.series.map((s) => spoken(s, curve.form)).join(" ")}`);
  bands(svg, x, stretches, box);
  yAxis(svg, y, low, high, curve.form, box);
  for (const series of curve.series) {
    for (const piece of series.pieces) {
      const path = piece.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`);
      svg.append(piece.length > 1
        ? drawn("polyline", { class: `line role-${series.role}`, points: path.join(" ") })
        : drawn("circle", { class: `dot role-${series.role}`, cx: x(piece[0][0]), cy: y(piece[0][1]), r: 2.5 }));
    }
  }
  svg.append(drawn("text", { class: "tick", x: box.left, y: box.height - 6 }, "step 1"));
  svg.append(drawn("text", { class: "tick", x: box.width - box.right, y: box.height - 6, "text-anchor": "end" },
    `${steps.toLocaleString("en")}`));
  const keys = curve.series.length > 1 || curve.series[0].name !== "step"
    ? legend(curve.series.map((series) => [series.name, series.role])) : null;
  return framed(curve.title, curve.about, svg, [keys, readout(svg, curve, x, y, steps, perPoint, stretches)]);
}

function spoken(series, form) {
  const first = series.pieces[0][0][1];
  const last = series.pieces.at(-1).at(-1)[1];
  return `${series.name}: from ${figure(first, form)} to ${figure(last, form)}.`;
}

function bands(svg, x, stretches, box) {
  let round = 0;
  const half = stretches.length > 1 ? (x(1) - x(0)) / 2 : 0;
  for (const [number, phase, first, last] of stretches) {
    const from = Math.max(box.left, x(first) - half);
    const to = Math.min(box.width - box.right, x(last) + half);
    svg.append(drawn("rect", {
      class: `band role-${phase}`, x: from, y: box.top, width: Math.max(0, to - from),
      height: box.height - box.top - box.bottom,
    }));
    if (number !== round) {
      if (round > 0) svg.append(drawn("line", { class: "fence", x1: from, x2: from, y1: 4, y2: box.height - box.bottom }));
      svg.append(drawn("text", { class: "tick", x: from + 3, y: box.top - 6 }, `round ${number}`));
      round = number;
    }
  }
}

// The chart and the step that were read last: a chart that is drawn anew, of more steps, shows them again.
const reading = { title: "", step: 0 };

// The line under a chart that names the values of the step under the pointer.
function readout(svg, curve, x, y, steps, perPoint, stretches) {
  const out = element("output", { class: "readout" }, "\u00a0");
  const cursor = drawn("line", { class: "cursor", y1: CHART.top, y2: CHART.height - CHART.bottom, x1: -9, x2: -9 });
  svg.append(cursor);
  const all = curve.series.map((series) => series.pieces.flat());
  let at = 0;
  const show = (step) => {
    at = Math.max(0, Math.min(steps - 1, step));
    Object.assign(reading, { title: curve.title, step: at });
    const found = all.map((points, i) => {
      const near = points.reduce((best, p) => (Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best), points[0]);
      return Math.abs(near[0] - at) <= perPoint ? `${curve.series[i].name} ${figure(near[1], curve.form)}` : null;
    }).filter((text) => text !== null);
    const place = stretches.find(([, , first, last]) => first <= at && at <= last);
    const where = place ? `round ${place[0]}, ${place[1]}, step ${at + 1}` : `step ${at + 1}`;
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    out.textContent = `${where}: ${found.join(", ") || "nothing measured"}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const inside = ((event.clientX - frame.left) / frame.width) * CHART.width;
    const span = CHART.width - CHART.right - CHART.left;
    show(Math.round(((inside - CHART.left) / span) * Math.max(1, steps - 1)));
  });
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(at + move);
  });
  if (reading.title === curve.title) show(reading.step);
  return out;
}

// Shares with their intervals, round by round; `measured` are [name, [[round, value, low, high], ...]].
function roundsChart(title, about, measured, chance) {
  const box = { ...CHART, width: WIDTH, height: 250, bottom: 28 };
  const rounds = [...new Set(measured.flatMap(([, points]) => points.map(([round]) => round)))].sort((a, b) => a - b);
  const values = measured.flatMap(([, points]) => points.flatMap(([, v, low, high]) => [v, low ?? v, high ?? v]));
  const low = Math.max(0, Math.min(...values, chance ?? 1) - 0.05);
  const high = Math.min(1, Math.max(...values) + 0.05);
  const x = scale(box.left + 40, box.width - box.right - 40, rounds[0], rounds.at(-1));
  const y = scale(box.height - box.bottom, box.top, low, high);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${box.width} ${box.height}`, role: "img" });
  svg.setAttribute("aria-label", `${title}. ${measured.map(([name, points]) =>
    `${name}: ${points.map(([round, v]) => `round ${round} ${percent(v)}`).join(", ")}.`).join(" ")}`);
  yAxis(svg, y, low, high, "share", box);
  if (chance !== null) {
    svg.append(drawn("line", { class: "chance", x1: box.left, x2: box.width - box.right, y1: y(chance), y2: y(chance) }));
    svg.append(drawn("text", { class: "tick", x: box.width - box.right, y: y(chance) - 4, "text-anchor": "end" }, "a guess"));
  }
  measured.forEach(([, points], i) => {
    const aside = (i - (measured.length - 1) / 2) * 12;
    const role = `series-${i}`;
    svg.append(drawn("polyline", {
      class: `line ${role}`, points: points.map(([round, v]) => `${x(round) + aside},${y(v)}`).join(" "),
    }));
    for (const [round, v, from, to] of points) {
      const at = x(round) + aside;
      if (from !== null) svg.append(drawn("line", { class: `whisker ${role}`, x1: at, x2: at, y1: y(from), y2: y(to) }));
      svg.append(drawn("circle", { class: `dot ${role}`, cx: at, cy: y(v), r: 4 }));
    }
  });
  for (const round of rounds) {
    svg.append(drawn("text", { class: "tick", x: x(round), y: box.height - 8, "text-anchor": "middle" },
      round === 0 ? "before" : `round ${round}`));
  }
  const keys = element("p", { class: "legend" },
    measured.map(([name], i) => element("span", { class: `key series-${i}` }, name)));
  return framed(title, about, svg, keys);
}

// Before and after of every family, the largest gain first; `families` are [name, before, after].
function familiesChart(title, about, families) {
  const row = 26;
  const box = { width: WIDTH, left: 130, right: 52, top: 8, bottom: 22 };
  const height = box.top + families.length * row + box.bottom;
  const x = scale(box.left, box.width - box.right, 0, 1);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${box.width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `${title}. ${families.map(([name, was, now]) =>
    `${name}: from ${percent(was)} to ${percent(now)}`).join(". ")}`);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(drawn("line", { class: "grid", x1: x(value), x2: x(value), y1: box.top, y2: height - box.bottom }));
    svg.append(drawn("text", { class: "tick", x: x(value), y: height - 6, "text-anchor": "middle" }, `${value * 100} %`));
  }
  families.forEach(([name, was, now], i) => {
    const at = box.top + (i + 0.5) * row;
    const change = now > was ? "gain" : now < was ? "loss" : "even";
    svg.append(drawn("text", { class: "name", x: box.left - 10, y: at + 4, "text-anchor": "end" }, name.replaceAll("_", " ")));
    svg.append(drawn("line", { class: `reach ${change}`, x1: x(was), x2: x(now), y1: at, y2: at }));
    svg.append(drawn("circle", { class: "was", cx: x(was), cy: at, r: 4.5 }));
    svg.append(drawn("circle", { class: `now ${change}`, cx: x(now), cy: at, r: 5.5 }));
    const moved = `${now >= was ? "+" : MINUS}${Math.abs((now - was) * 100).toFixed(0)}`;
    svg.append(drawn("text", { class: `name ${change}`, x: box.width - 4, y: at + 4, "text-anchor": "end" }, moved));
  });
  return framed(title, about, svg, element("p", { class: "legend" },
    element("span", { class: "key was" }, "before"), element("span", { class: "key gain" }, "after, higher"),
    families.some(([, was, now]) => now < was) ? element("span", { class: "key loss" }, "after, lower") : null));
}

// Confidence of labels against the share that is right; `rounds` are [round, [[confidence, accuracy, n], ...]].
function calibrationChart(title, about, rounds) {
  const box = { width: WIDTH, height: 280, left: 52, right: 26, top: 12, bottom: 38 };
  const x = scale(box.left, box.width - box.right, 0, 1);
  const y = scale(box.height - box.bottom, box.top, 0, 1);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${box.width} ${box.height}`, role: "img" });
  svg.setAttribute("aria-label", `${title}. ${rounds.map(([round, bins]) => `Round ${round}: ${bins.map(([c, a, n]) =>
    `${counted(n, "label")} with confidence ${percent(c, 0)}, ${percent(a, 0)} right`).join("; ")}.`).join(" ")}`);
  yAxis(svg, y, 0, 1, "share", box);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(drawn("text", { class: "tick", x: x(value), y: box.height - box.bottom + 16, "text-anchor": "middle" },
      `${value * 100} %`));
  }
  svg.append(drawn("text", { class: "tick", x: (box.left + box.width) / 2, y: box.height - 6, "text-anchor": "middle" },
    "confidence of the vote"));
  svg.append(drawn("line", { class: "chance", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  const most = Math.max(...rounds.flatMap(([, bins]) => bins.map(([, , n]) => n)));
  rounds.forEach(([, bins], i) => {
    svg.append(drawn("polyline", { class: `line series-${i % 4}`, points: bins.map(([c, a]) => `${x(c)},${y(a)}`).join(" ") }));
    for (const [c, a, n] of bins) {
      svg.append(drawn("circle", { class: `dot series-${i % 4}`, cx: x(c), cy: y(a), r: 3 + 5 * Math.sqrt(n / most) }));
    }
  });
  return framed(title, about, svg, element("p", { class: "legend" },
    rounds.map(([round], i) => element("span", { class: `key series-${i % 4}` }, `round ${round}`))));
}

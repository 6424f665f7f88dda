"use strict";
// Two models on the same questions: the verdict, the figures, who won what, families, and who they are.

const SIDES = ["A", "B"];

function comparisonPage() {
  const found = data("comparison");
  return [
    claim(found),
    part("figures", "Both models", measures(found), outcomeBar(found)),
    part("families", "By kind of question", families(found)),
  ];
}

function part(name, title, ...children) {
  return element("section", { "aria-labelledby": `title-${name}` }, element("h2", { id: `title-${name}` }, title), children);
}

const STATUS = { better: "B is better", worse: "B is worse", unclear: "no difference can be claimed" };

function claim(found) {
  const { status, sentences } = found.verdict;
  return element("section", { class: `verdict ${status}`, "aria-label": "Verdict" },
    element("p", { class: "badges" }, element("span", { class: `badge ${status}` }, STATUS[status])),
    element("p", { class: "claim" }, said(sentences[0])),
    sentences.slice(1).map((sentence) => element("p", { class: "rest" }, said(sentence))),
    element("dl", { class: "facts" },
      found.sides.map(([name, answers], i) => fact(SIDES[i], `${name} (${answers === "kept" ? "answers of the run" : "asked for this"})`)),
      found.facts.map(([name, value]) => fact(name, value))));
}

function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, said(value)));
}

function table(heads, rows, attributes = {}) {
  return element("div", { class: "scroll" }, element("table", attributes,
    element("thead", {}, element("tr", {}, heads.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, rows.map(([name, ...values]) => element("tr", {},
      element("th", { scope: "row" }, said(name)), values.map((value) => element("td", {}, String(value))))))));
}

function measures(found) {
  return table(["right answers", "A", "B", `B ${MINUS} A in points`], found.measures);
}

// Every question once: who was right, and whether one of the two could not be read.
function outcomeBar(found) {
  const { n, wins, losses, ties } = found;
  const parts = [
    ["both right", ties.both_right, "both", "both"],
    ["B alone right", wins.answers, "win", "win"],
    ["B alone right, A unreadable", wins.form, "win-form", "win-form"],
    ["A alone right, B unreadable", losses.form, "loss-form", "loss-form"],
    ["A alone right", losses.answers, "loss", "loss"],
    ["neither right", ties.all - ties.both_right, "neither", "neither"],
  ];
  const bar = element("div", { class: "stack outcomes" }, parts.filter(([, count]) => count > 0).map(([name, count, kind, result]) => {
    const made = link("questions", { result }, { class: `part ${kind}`, title: `${name}: ${count}`,
      "aria-label": `${name}: ${counted(count, "question")}` }, count / n > 0.06 ? count.toLocaleString("en") : "");
    made.style.setProperty("flex-grow", String(count));
    return made;
  }));
  const [answers, form] = found.parts.map(([, text]) => text);
  return [
    framed(`Of ${counted(n, "question")}`, "Greedy answers. A part leads to its questions.", bar,
      element("p", { class: "legend" }, parts.map(([name, count, kind]) =>
        element("span", { class: `key ${kind}` }, `${name} ${count.toLocaleString("en")}`)))),
    element("div", { class: "pair" },
      element("figure", { class: "chart" }, element("figcaption", {}, element("strong", {}, "What the difference is made of"),
        element("span", { class: "about" }, "In points of greedy accuracy; the two add up to it.")),
      table(["", `B ${MINUS} A`], [["both could be read: the answers", answers], ["one could not be read: the form", form]]),
      element("p", { class: "quiet" }, `McNemar's exact test: ${wins.all} wins, ${losses.all} losses, ${found.mcnemar}.`)),
      element("figure", { class: "chart" }, element("figcaption", {}, element("strong", {}, "What became of A's answers"),
        element("span", { class: "about" }, "A line for what A gave, a column for what B gave.")),
      table(["A, then B", "right", "wrong", "unreadable"],
        found.outcomes.map((counts, i) => [["right", "wrong", "unreadable"][i], ...counts])))),
  ];
}

function families(found) {
  const heads = ["family", "n", "A", "B", `B ${MINUS} A, greedy`, `B ${MINUS} A, sampled`, "wins", "losses", "p"];
  return [
    changesChart("Greedy answers, in points", "Bars are 95 % intervals; one that reaches the line claims nothing.",
      found.families),
    table(heads, found.families.map((one) => [one.name, one.n, one.a, one.b, ...one.changes, one.wins, one.losses, one.p])),
    element("p", { class: "quiet" }, `${counted(found.families.length, "family", "families")}, each with its own interval: `
      + "about one in twenty misses by chance."),
  ];
}

// Changes with their intervals, the largest loss first.
function changesChart(title, about, rows) {
  const row = 26;
  const box = { width: WIDTH, left: 130, right: 46, top: 8, bottom: 22 };
  const height = box.top + rows.length * row + box.bottom;
  const bounds = rows.flatMap((one) => one.greedy);
  const low = Math.min(-0.05, ...bounds);
  const high = Math.max(0.05, ...bounds);
  const x = scale(box.left, box.width - box.right, low, high);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${box.width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `${title}. ${rows.map((one) => `${one.name}: ${one.changes[0]}`).join(". ")}`);
  for (const value of ticks(low, high)) {
    svg.append(drawn("line", { class: value === 0 ? "fence" : "grid", x1: x(value), x2: x(value), y1: box.top, y2: height - box.bottom }));
    svg.append(drawn("text", { class: "tick", x: x(value), y: height - 6, "text-anchor": "middle" }, plain(value * 100)));
  }
  rows.forEach((one, i) => {
    const [mean, from, to] = one.greedy;
    const at = box.top + (i + 0.5) * row;
    const kind = from > 0 ? "gain" : to < 0 ? "loss" : "even";
    svg.append(drawn("text", { class: "name", x: box.left - 10, y: at + 4, "text-anchor": "end" }, shortName(one.name)));
    svg.append(drawn("line", { class: `reach ${kind}`, x1: x(from), x2: x(to), y1: at, y2: at }));
    svg.append(drawn("circle", { class: `now ${kind}`, cx: x(mean), cy: at, r: 5 }));
    const moved = `${mean > 0 ? "+" : mean < 0 ? MINUS : ""}${Math.abs(mean * 100).toFixed(0)}`;
    svg.append(drawn("text", { class: `name ${kind}`, x: box.width - 4, y: at + 4, "text-anchor": "end" }, moved));
  });
  return framed(title, about, svg);
}

function shortName(name) {
  const words = name.replaceAll("_", " ");
  return words.length > 20 ? `${words.slice(0, 19)}\u2026` : words;
}

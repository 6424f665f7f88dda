"use strict";
// The first page: the verdict, before and after, rounds, labels against the truth, curves, and where the time went.

const STATUS = {
  better: "better", worse: "worse", unclear: "no change can be claimed", unfinished: "not finished",
};

function overviewPage() {
  const run = data("overview");
  return [
    verdictCard(run),
    troublesCard(run.troubles),
    section("before-after", "Before and after", beforeAfter(run)),
    run.alarms ? section("alarms", "Alarms", alarmsPart(run.alarms)) : null,
    run.rounds.length ? section("labels", "What it taught itself", roundsTable(run.rounds), labelCharts(run.rounds)) : null,
    run.curves.curves.length ? section("curves", "Step by step", curvesGrid(run.curves)) : null,
    run.stages.length ? section("time", "Where the time went", timeLine(run.stages)) : null,
    section("settings", "Settings", element("details", {}, element("summary", {}, "All settings of this run"),
      element("pre", { class: "mono" }, run.settings))),
  ];
}

function section(name, title, ...children) {
  return element("section", { "aria-labelledby": `title-${name}` }, element("h2", { id: `title-${name}` }, title), children);
}

function verdictCard(run) {
  const { status, sentences, control } = run.headline;
  return element("section", { class: `verdict ${status}`, "aria-label": "Verdict" },
    element("p", { class: "badges" }, element("span", { class: `badge ${status}` }, STATUS[status]),
      control ? element("span", { class: "badge control" }, `a control run: ${control}`) : null),
    element("p", { class: "claim" }, sentences[0]),
    sentences.slice(1).map((sentence) => element("p", { class: "rest" }, sentence)),
    element("dl", { class: "facts" }, run.facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, said(value))))),
    run.notes.map((note) => element("p", { class: "quiet" }, note)));
}

function troublesCard(troubles) {
  if (!troubles.length) return null;
  return element("section", { class: "troubles", "aria-label": "What could not be read" },
    element("h2", {}, `${counted(troubles.length, "thing")} could not be read`),
    element("p", { class: "quiet" }, "Left out of everything below."),
    element("ul", {}, troubles.map(([where, what]) =>
      element("li", {}, where ? element("code", {}, said(where)) : null, " ", said(what)))));
}

function beforeAfter(run) {
  const parts = [];
  if (run.before_after.length) {
    parts.push(element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, ["held-out", "before", "after", "change in points"].map((name) =>
        element("th", { scope: "col" }, name)))),
      element("tbody", {}, run.before_after.map(([name, before, after, change]) => element("tr", {},
        element("th", { scope: "row" }, name), element("td", {}, before), element("td", {}, after),
        element("td", { class: "change" }, change)))))));
  }
  const charts = [];
  if (run.measured.length && run.measured[0][1].length > 1) {
    charts.push(roundsChart("Accuracy by round", "Held-out; bars are 95 % intervals.", run.measured, run.chance));
  }
  if (run.families.length) {
    charts.push(familiesChart("By kind of question", "Held-out, greedy answers, in points.", run.families));
  }
  if (charts.length) parts.push(element("div", { class: "pair" }, charts));
  if (!parts.length) parts.push(element("p", { class: "quiet" }, "Nothing is measured yet."));
  return parts;
}

// What was watched for collapse: what went off, with what it saw, and what could not be measured.
function alarmsPart({ policy, fired, quiet, not_measured: notMeasured, off, watched }) {
  const columns = ["where", "alarm", "what it saw", "worth trying"];
  const names = (title, found) => (found.length ? element("p", { class: "quiet" }, `${title}: ${found.join(", ")}.`) : null);
  return [
    element("p", {}, fired.length ? `${counted(fired.length, "alarm")} went off (alarms.policy=${policy}).`
      : watched ? "No alarm went off." : "Nothing was looked at yet."),
    fired.length ? element("div", { class: "scroll" }, element("table", { class: "words" },
      element("thead", {}, element("tr", {}, columns.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, fired.map(([where, alarm, says, limit, suggestion]) => element("tr", {},
        element("th", { scope: "row" }, said(where)), element("td", {}, element("code", {}, said(alarm))),
        element("td", {}, said(says), limit === null ? "" : ` (threshold ${limit})`),
        element("td", {}, element("code", {}, said(suggestion)))))))) : null,
    names("Quiet", quiet),
    names("Switched off", off),
    notMeasured.length ? element("details", {}, element("summary", {}, `${counted(notMeasured.length, "alarm")} not measured`),
      element("ul", {}, notMeasured.map(([alarm, why]) => element("li", {}, element("code", {}, said(alarm)), " ", said(why))))) : null,
  ];
}

function roundsTable(rounds) {
  const columns = [
    ["asked", (r) => (r.candidates === null ? DASH : r.candidates.toLocaleString("en"))],
    ["kept", (r) => (r.kept === null ? DASH : r.kept.toLocaleString("en"))],
    ["kept share", (r) => (r.kept === null || !r.candidates ? DASH : percent(r.kept / r.candidates))],
    ["confidence", (r) => (r.confidence === null ? DASH : r.confidence.toFixed(2))],
    ["well posed", (r) => percent(r.well_posed)],
    ["labels right", (r) => percent(r.labels_right)],
  ];
  return element("div", { class: "scroll" }, element("table", { class: "figures" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "round"),
      columns.map(([name]) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, rounds.map((round) => element("tr", {},
      element("th", { scope: "row" }, String(round.round)), columns.map(([, read]) => element("td", {}, read(round))))))));
}

function labelCharts(rounds) {
  const charts = [];
  const calibrated = rounds.filter((round) => round.calibration.length).map((round) => [round.round, round.calibration]);
  if (calibrated.length) {
    charts.push(calibrationChart("Are confident labels right?",
      "On the diagonal a label is as often right as its vote is sure. Larger dots are more labels.", calibrated));
  }
  if (rounds.some((round) => round.rejected.length)) charts.push(rejectedChart(rounds));
  return charts.length ? element("div", { class: "pair" }, charts) : null;
}

// Of every round's candidates: kept, and turned away by which gate.
function rejectedChart(rounds) {
  const gates = [...new Set(rounds.flatMap((round) => round.rejected.map(([gate]) => gate)))];
  const bars = rounds.map((round) => {
    const parts = [["kept", round.kept ?? 0, "kept"],
      ...round.rejected.map(([gate, count]) => [gate, count, `gate-${gates.indexOf(gate) % 7}`])];
    const all = parts.reduce((sum, [, count]) => sum + count, 0) || 1;
    return element("div", { class: "stack-row" }, element("span", { class: "stack-name" }, `round ${round.round}`),
      element("div", { class: "stack" }, parts.filter(([, count]) => count > 0).map(([name, count, kind]) => {
        const part = link("questions", { round: round.round, phase: "curation", fate: name === "kept" ? "kept" : `gate:${name}` },
          { class: `part ${kind}`, title: `${name}: ${count}`, "aria-label": `round ${round.round}, ${name}: ${counted(count, "question")}` },
          count / all > 0.09 ? count.toLocaleString("en") : "");
        part.style.setProperty("flex-grow", String(count));
        return part;
      })));
  });
  return framed("What the gates turned away", "Of all candidates. A part leads to its questions.",
    element("div", { class: "stacks" }, bars),
    element("p", { class: "legend" }, element("span", { class: "key kept" }, "kept"),
      gates.map((gate, i) => element("span", { class: `key gate-${i % 7}` }, gate))));
}

function curvesGrid({ steps, per_point: perPoint, stretches, curves }) {
  const phases = [...new Set(stretches.map(([, phase]) => phase))];
  return [
    element("p", { class: "quiet" },
      `${counted(steps, "step")} in all. `,
      perPoint > 1 ? `A point is the mean of ${perPoint} neighbouring steps. ` : "",
      `Shading says who learned: ${phases.join(", ")}.`),
    element("div", { class: "curves" }, curves.map((curve) => lineChart(curve, steps, stretches, perPoint))),
  ];
}

function timeLine(stages) {
  const total = stages.reduce((sum, [, seconds]) => sum + seconds, 0) || 1;
  const kind = (name) => name.split("/").at(-1);
  const kinds = [...new Set(stages.map(([name]) => kind(name)))];
  const known = ["evaluation", "questioner", "curation", "reasoner", "games"];
  const css = (name) => (known.includes(kind(name)) ? `stage-${kind(name)}` : "stage-other");
  const bar = element("div", { class: "stack timeline" }, stages.map(([name, seconds]) => {
    const part = element("span", { class: `part ${css(name)}`, title: `${name}: ${duration(seconds)}` });
    part.style.setProperty("flex-grow", String(seconds));
    return part;
  }));
  const spent = (one) => stages.reduce((sum, [name, seconds]) => sum + (kind(name) === one ? seconds : 0), 0);
  return element("figure", { class: "chart" }, bar,
    element("p", { class: "legend" }, kinds.map((name) => element("span", { class: `key ${css(name)}` },
      `${name} ${duration(spent(name))} (${percent(spent(name) / total, 0)})`))),
    element("details", {}, element("summary", {}, "Every stage"), element("div", { class: "scroll" },
      element("table", { class: "narrow" }, element("tbody", {}, stages.map(([name, seconds]) => element("tr", {},
        element("th", { scope: "row" }, said(name.replace("round-", "round ").replace("/", ", "))),
        element("td", {}, duration(seconds)), element("td", {}, percent(seconds / total, 0)))))))));
}

"use strict";
// One question in full, in a sheet over the gallery: every answer, the arithmetic of its reward, what each gate said,
// and where else its image and its words occur. Arrow keys go through the gallery's selection.

const MARKS = { passed: "\u2713", rejected: "\u2717", "not reached": "\u00b7" };
const LOADING = "Loading \u2026";
let numbers = null;

function numberOf(id) {
  if (numbers === null) numbers = new Map(data("questions").columns.id.map((name, i) => [name, i]));
  return numbers.get(id);
}

function openQuestion(id) {
  const sheet = document.getElementById("sheet");
  const i = numberOf(id);
  sheet.replaceChildren(...(i === undefined ? missingQuestion(id) : questionSheet(i)));
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  sheet.querySelector(".close").focus();
}

function closeButton() {
  return element("button", { type: "button", class: "close button", click: () => document.getElementById("sheet").close() },
    "Close");
}

function missingQuestion(id) {
  return [element("header", { class: "sheet-top" }, element("h2", {}, "Not in this report"), closeButton()),
    element("p", {}, "No question here has the id ", element("code", {}, said(id)), ".")];
}

function questionSheet(i) {
  const { columns: q, piece } = data("questions");
  const details = detail("details", i, piece);
  if (details === null) {
    return [element("header", { class: "sheet-top" }, neighbours(i), closeButton()), element("p", { class: "empty" }, LOADING)];
  }
  return [
    element("header", { class: "sheet-top" }, neighbours(i), closeButton()),
    element("div", { class: "sheet-body" },
      element("div", { class: "sheet-side" }, picture(q.image[i], { class: "large" }), chips(i),
        element("p", { class: "quiet id" }, said(q.id[i]))),
      element("div", { class: "sheet-main" },
        element("h2", { class: "asked" }, questionText(i)),
        details.unreadable ? element("p", { class: "wrong-text" }, `Not read as a question: `, said(details.unreadable)) : null,
        votesOf(i, details),
        details.rewards.length ? block("Reward", element("pre", { class: "mono" }, details.rewards.join("\n"))) : null,
        details.gates.length ? block("Gates", gatesList(details.gates)) : null,
        details.lesson ? element("p", { class: "lesson" }, said(details.lesson)) : null,
        details.completion ? block("As the questioner wrote it", element("pre", { class: "mono wrap" }, details.completion)) : null,
        elsewhere(i))),
  ];
}

function block(title, ...children) {
  return element("section", { class: "block" }, element("h3", {}, title), children);
}

function neighbours(i) {
  const { columns: q } = data("questions");
  const at = listed.indexOf(i);
  const to = (k, text, name) => (at >= 0 && k >= 0 && k < listed.length
    ? link("question", { id: q.id[listed[k]] }, { class: `button ${name}` }, text)
    : element("span", { class: "button off", "aria-hidden": "true" }, text));
  return element("nav", { class: "neighbours", "aria-label": "Neighbouring questions" },
    to(at - 1, "\u2190", "previous"), to(at + 1, "\u2192", "next"),
    element("span", { class: "quiet" }, at >= 0 ? `${(at + 1).toLocaleString("en")} of ${listed.length.toLocaleString("en")}` : ""));
}

function votesOf(i, details) {
  const { columns: q, names } = data("questions");
  const parts = [];
  if (details.truth) {
    parts.push(element("p", { class: `truth ${JUDGED[q.truth[i]]?.[1] ?? ""}` }, "Truth: ", said(details.truth), "."));
  }
  if (details.answers) {
    const groups = new Map();
    for (const [answer, text] of details.answers) groups.set(answer, [...(groups.get(answer) ?? []), text]);
    const order = [...groups].sort((a, b) => (a[0] < 0) - (b[0] < 0) || b[1].length - a[1].length);
    parts.push(element("div", { class: "groups" }, order.map(([answer, texts]) => element("details", {},
      element("summary", {}, said(answer < 0 ? "unreadable" : names.answers[answer], { class: "answer" }),
        ` \u00d7 ${texts.length}`, answer >= 0 && answer === q.label[i] ? element("span", { class: "chip kept" }, "label") : null),
      element("ol", {}, texts.map((text) => element("li", {}, said(text || "(nothing)"))))))));
  } else if (q.confidence[i] !== null) {
    parts.push(element("p", { class: "quiet" }, "This run did not keep the answers of its questioner phase."));
  }
  if (details.blind) parts.push(element("h4", {}, "Without the image"), voteParts(details.blind, q.label[i]));
  return block("Votes", voteBar(i), parts);
}

function gatesList(gates) {
  return element("ul", { class: "gates" }, gates.map(([name, outcome, text]) =>
    element("li", { class: outcome.replace(" ", "-") }, element("span", { class: "mark-of", "aria-hidden": "true" }, MARKS[outcome]),
      element("strong", {}, name), element("span", { class: "outcome" }, outcome), said(text, { class: "reason" }))));
}

// The same image, in this round and in others, and the same words.
function elsewhere(i) {
  const { columns: q } = data("questions");
  const same = [];
  for (let k = 0; k < q.image.length; k += 1) if (k !== i && q.image[k] === q.image[i]) same.push(k);
  const alike = same.filter((k) => q.wording[i] >= 0 && q.wording[k] === q.wording[i]);
  const others = same.filter((k) => !alike.includes(k));
  const row = (k) => element("li", {}, link("question", { id: q.id[k] }, {}, questionText(k)),
    element("span", { class: "quiet" }, ` round ${q.round[k]}, ${FATES[q.fate[k]][0]}`));
  const times = repeats(q.wording[i]);
  return [
    alike.length ? block("Asked again in the same words about this image", element("ul", { class: "links" }, alike.map(row))) : null,
    others.length ? block("Also asked about this image", element("ul", { class: "links" }, others.slice(0, 30).map(row)),
      others.length > 30 ? link("questions", { image: q.image[i] }, {}, `all ${others.length}`) : null) : null,
    times > 1 ? element("p", {}, link("questions", { wording: q.wording[i] }, {},
      `These words were asked ${times.toLocaleString("en")} times, about all images`)) : null,
  ];
}

function sheetKeys(event) {
  const where = { ArrowLeft: ".previous", ArrowRight: ".next" }[event.key];
  if (where && !event.target.closest("input, select, textarea")) document.querySelector(`#sheet ${where}`)?.click();
}

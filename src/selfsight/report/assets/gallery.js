"use strict";
// The gallery of questions: filters, search, sorting and pages over columns of all questions; only the cards of one
// page exist at a time, and their pictures are decoded when they come into view.

const CARDS = 24;

const SORTS = {
  asked: ["as asked", null],
  sure: ["most agreement first", (q, a, b) => (q.confidence[b] ?? -1) - (q.confidence[a] ?? -1)],
  torn: ["least agreement first", (q, a, b) => (q.confidence[a] ?? 2) - (q.confidence[b] ?? 2)],
  paid: ["highest reward first", (q, a, b) => (q.reward[b] ?? -1) - (q.reward[a] ?? -1)],
  unpaid: ["lowest reward first", (q, a, b) => (q.reward[a] ?? 9) - (q.reward[b] ?? 9)],
  worn: ["most repeated wording first", (q, a, b) => repeats(q.wording[b]) - repeats(q.wording[a])],
};

const TRUTHS = [["", "any"], ["1", "label right"], ["2", "label wrong"], ["3", "no right answer"], ["4", "no label"]];
const AGREEMENTS = [["", "any"], ["0-0.25", "to 25 %"], ["0.25-0.5", "25 to 50 %"], ["0.5-0.75", "50 to 75 %"],
  ["0.75-0.99", "75 % and more, not all"], ["0.99-1", "all agree"]];

let wordingCounts = null;
let searchable = null;

function repeats(wording) {
  if (wordingCounts === null) {
    wordingCounts = new Map();
    for (const w of data("questions").columns.wording) wordingCounts.set(w, (wordingCounts.get(w) ?? 0) + 1);
  }
  return wording < 0 ? 0 : wordingCounts.get(wording);
}

function textOf(i) {
  if (searchable === null) {
    const q = data("questions").columns;
    searchable = q.text.map((text, k) => `${text}\n${q.id[k]}`.toLowerCase());
  }
  return searchable[i];
}

// The numbers of the questions that a query asks for, in its order.
function selected(query) {
  const { columns: q, names } = data("questions");
  const words = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter((word) => word);
  const fate = query.get("fate") ?? "";
  const gate = fate.startsWith("gate:") ? names.gates.indexOf(fate.slice(5)) : null;
  const family = query.has("family") ? names.families.indexOf(query.get("family")) : null;
  const [low, high] = (query.get("agreement") || "-1-2").match(/^(-?[\d.]+)-([\d.]+)$/)?.slice(1).map(Number) ?? [-1, 2];
  const found = [];
  for (let i = 0; i < q.id.length; i += 1) {
    if (query.get("round") && q.round[i] !== Number(query.get("round"))) continue;
    if (query.get("phase") && q.curation[i] !== Number(query.get("phase") === "curation")) continue;
    if (fate === "kept" && q.fate[i] !== 0) continue;
    if (fate === "rejected" && q.fate[i] !== 1) continue;
    if (gate !== null && (q.gate[i] !== gate || q.fate[i] === 0)) continue;
    if (family !== null && q.family[i] !== family) continue;
    if (query.get("truth") && q.truth[i] !== Number(query.get("truth"))) continue;
    if (query.get("agreement") && !((q.confidence[i] ?? -1) >= low && q.confidence[i] <= high)) continue;
    if (query.get("image") && q.image[i] !== Number(query.get("image"))) continue;
    if (query.get("wording") && q.wording[i] !== Number(query.get("wording"))) continue;
    if (words.some((word) => !textOf(i).includes(word))) continue;
    found.push(i);
  }
  const order = SORTS[query.get("sort")]?.[1];
  return order ? found.sort((a, b) => order(q, a, b) || a - b) : found;
}

function counts(values, names) {
  const found = new Map();
  for (const value of values) if (value >= 0) found.set(value, (found.get(value) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]).map(([value, count]) => [names[value], count]);
}

// There are other questions now: nothing that was made of the old ones is true of them.
function forgetQuestions() {
  wordingCounts = null;
  searchable = null;
  numbers = null;
}

function galleryPage(query) {
  const cards = element("div", { class: "cards" });
  const results = element("div", {});
  const status = element("p", { class: "status", role: "status" });
  const toolbar = element("div", { class: "toolbar", role: "search", "aria-label": "Questions" });
  const clear = link("questions", {}, { class: "button quiet" }, "Clear all");
  const draw = (state) => {
    const { shown, asked } = data("questions");
    const found = selected(state);
    const pages = Math.max(1, Math.ceil(found.length / CARDS));
    const page = Math.min(pages, Math.max(1, Number(state.get("page")) || 1));
    const at = (page - 1) * CARDS;
    status.textContent = `${counted(found.length, "question")} of ${shown.toLocaleString("en")}`
      + (shown < asked ? ` shown here (the run asked ${asked.toLocaleString("en")})` : "");
    listed = found;
    renew(cards, found.slice(at, at + CARDS).map((i) => card(i)));
    renew(results, [cards, found.length ? pager(state, page, pages)
      : element("p", { class: "empty" }, "No question fits. Take a filter away.")]);
    clear.hidden = [...state.keys()].length === 0;
  };
  const change = (name) => (value) => {
    const state = new URLSearchParams(location.hash.split("?")[1] ?? "");
    if (value) state.set(name, value);
    else state.delete(name);
    state.delete("page");
    stay(address("questions", Object.fromEntries(state)));
    draw(state);
  };
  toolbar.append(...filters(query, change), clear);
  draw(query);
  refill = () => {
    const state = place(behind).query;
    if (!toolbar.contains(document.activeElement)) toolbar.replaceChildren(...filters(state, change), clear);
    draw(state);
  };
  return [element("h2", { class: "visually-hidden" }, "Questions"), toolbar, status, results];
}

function filters(query, change) {
  const { columns: q, names } = data("questions");
  const search = element("input", { type: "search", value: query.get("q") ?? "", placeholder: "words, or an id",
    input: (event) => change("q")(event.target.value) });
  const rounds = [...new Set(q.round)].sort((a, b) => a - b);
  const judged = q.truth.some((value) => value > 0);
  return [
    element("label", { class: "field wide" }, element("span", {}, "Search"), search),
    choice("Round", [["", "all"], ...rounds.map((r) => [String(r), String(r)])], query.get("round") ?? "", change("round")),
    choice("Phase", [["", "both"], ["questioner", "questioner"], ["curation", "curation"]], query.get("phase") ?? "", change("phase")),
    choice("Outcome", [["", "all"], ["kept", "kept"], ["rejected", "turned away"],
      ...counts(q.gate, names.gates).map(([gate, count]) => [`gate:${gate}`, `by ${gate} (${count.toLocaleString("en")})`])],
    query.get("fate") ?? "", change("fate")),
    choice("Agreement", AGREEMENTS, query.get("agreement") ?? "", change("agreement")),
    judged ? choice("Against the truth", TRUTHS, query.get("truth") ?? "", change("truth")) : "",
    choice("Family", [["", "all"], ...counts(q.family, names.families).slice(0, 60)
      .map(([family, count]) => [family, `${family} (${count.toLocaleString("en")})`])], query.get("family") ?? "", change("family")),
    choice("Sort", Object.entries(SORTS).map(([name, [text]]) => [name, text]), query.get("sort") ?? "asked", change("sort")),
  ];
}

// The questions of the last selection: what "next" means in the sheet of a question.
let listed = [];

function pager(state, page, pages) {
  const to = (number) => Object.fromEntries([...state.entries(), ["page", number]]);
  const step = (number, text) => (number < 1 || number > pages
    ? element("span", { class: "button off", "aria-hidden": "true" }, text)
    : link("questions", to(number), { class: "button" }, text));
  return element("nav", { class: "pager", "aria-label": "Pages of questions" },
    step(page - 1, "\u2190 Previous"), element("span", {}, `page ${page} of ${pages}`), step(page + 1, "Next \u2192"));
}

const FATES = [["kept", "kept"], ["turned away", "rejected"], ["asked", "asked"]];
const JUDGED = [null, ["label right", "right"], ["label wrong", "wrong"], ["no right answer", "wrong"], ["no label", "asked"]];

function chips(i) {
  const { columns: q, names } = data("questions");
  const [fate, kind] = FATES[q.fate[i]];
  const gate = q.gate[i] >= 0 && q.fate[i] === 1 ? `${fate}: ${names.gates[q.gate[i]]}` : fate;
  const truth = JUDGED[q.truth[i]];
  return element("p", { class: "chips" },
    element("span", { class: "chip" }, `round ${q.round[i]}, ${q.curation[i] ? "curation" : "questioner"}`),
    element("span", { class: `chip ${kind}` }, gate),
    q.reward[i] !== null ? element("span", { class: "chip" }, `reward ${plain(q.reward[i])}`) : null,
    truth ? element("span", { class: `chip ${truth[1]}` }, truth[0]) : null);
}

function questionText(i, attributes = {}) {
  const { columns: q } = data("questions");
  if (q.valid[i]) return said(q.text[i], attributes);
  return element("span", { class: "unreadable" }, said(q.text[i] || "(nothing)", attributes));
}

function card(i) {
  const { columns: q } = data("questions");
  return element("article", { class: "card" },
    element("div", { class: "card-top" }, picture(q.image[i], { class: "thumb" }),
      element("div", { class: "card-text" },
        link("question", { id: q.id[i] }, { class: "question" }, questionText(i)), chips(i))),
    voteBar(i));
}

// The vote as a bar: the most frequent answer first, unreadable ones last. The numbers stand beside it in words.
function voteBar(i) {
  const { columns: q, names } = data("questions");
  const votes = q.votes[i];
  if (!votes.length) {
    if (q.confidence[i] === null) return element("p", { class: "votes quiet" }, "nobody was asked");
    return agreement(q.confidence[i], q.label[i] >= 0 ? names.answers[q.label[i]] : null);
  }
  return voteParts(votes, q.label[i]);
}

// All that is known of a vote whose answers were not kept.
function agreement(confidence, label) {
  const parts = [["label", confidence], ["unknown", 1 - confidence]].map(([kind, share]) => {
    const part = element("span", { class: `part ${kind}` });
    part.style.setProperty("flex-grow", String(share));
    return share > 0 ? part : null;
  });
  return element("div", { class: "votes" }, element("div", { class: "stack", "aria-hidden": "true" }, parts),
    element("p", { class: "vote-words" }, label === null
      ? element("span", {}, `${percent(confidence, 0)} agree, no label`)
      : element("span", { class: "vote label" }, said(label, { class: "answer" }), ` ${percent(confidence, 0)}`)));
}

function voteParts(votes, label) {
  const { names } = data("questions");
  const parts = [];
  const words = [];
  for (let k = 0; k < votes.length; k += 2) {
    const [answer, count] = [votes[k], votes[k + 1]];
    const kind = answer < 0 ? "none" : answer === label ? "label" : `other-${Math.min(3, k / 2)}`;
    const text = answer < 0 ? "unreadable" : names.answers[answer];
    const part = element("span", { class: `part ${kind}` });
    part.style.setProperty("flex-grow", String(count));
    parts.push(part);
    words.push(element("span", { class: `vote ${kind}` }, said(text, { class: "answer" }), ` ${count}`));
  }
  return element("div", { class: "votes" }, element("div", { class: "stack", "aria-hidden": "true" }, parts),
    element("p", { class: "vote-words" }, words));
}

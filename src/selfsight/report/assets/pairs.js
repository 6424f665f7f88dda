"use strict";
// Question by question: picture, truth and both answers, the biggest regression first; filters stand in the address.

const RESULTS = {
  "": ["all", () => true],
  loss: ["A alone right", (q, i) => q.result[i] === 1 && !q.form[i]],
  "loss-form": ["A alone right, B unreadable", (q, i) => q.result[i] === 1 && q.form[i]],
  win: ["B alone right", (q, i) => q.result[i] === 0 && !q.form[i]],
  "win-form": ["B alone right, A unreadable", (q, i) => q.result[i] === 0 && q.form[i]],
  both: ["both right", (q, i) => q.result[i] === 2 && q.a[i][0] === 0],
  neither: ["neither right", (q, i) => q.result[i] === 2 && q.a[i][0] !== 0],
};
const ORDERS = {
  lost: ["biggest regression first", null],
  gained: ["biggest gain first", (q, a, b) => q.drop[a] - q.drop[b]],
};
const OUTCOMES = [["right", "right"], ["wrong", "wrong"], ["unreadable", "wrong"]];

function wanted() {
  const [name, query] = location.hash.slice(1).split("?");
  return { name, query: new URLSearchParams(query ?? "") };
}

function choosePairs(query) {
  const { columns: q, names } = data("questions");
  const result = RESULTS[Object.hasOwn(RESULTS, query.get("result") ?? "") ? query.get("result") ?? "" : ""][1];
  const family = query.get("family") ? names.families.indexOf(query.get("family")) : null;
  const words = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter((word) => word);
  const found = [];
  for (let i = 0; i < q.id.length; i += 1) {
    if (!result(q, i) || (family !== null && q.family[i] !== family)) continue;
    const text = `${q.text[i]}\n${q.id[i]}`.toLowerCase();
    if (words.every((word) => text.includes(word))) found.push(i);
  }
  const order = Object.hasOwn(ORDERS, query.get("sort") ?? "") ? ORDERS[query.get("sort")][1] : null;
  return order ? found.sort((a, b) => order(q, a, b) || a - b) : found;
}

function pairsSection() {
  const { columns: q, names, shown, asked } = data("questions");
  const status = element("p", { class: "status", role: "status" });
  const results = element("div", {});
  const toolbar = element("div", { class: "toolbar", role: "search", "aria-label": "Questions" });
  const draw = () => {
    const { query } = wanted();
    const found = choosePairs(query);
    const pages = Math.max(1, Math.ceil(found.length / CARDS));
    const page = Math.min(pages, Math.max(1, Number(query.get("page")) || 1));
    status.textContent = `${counted(found.length, "question")} of ${shown.toLocaleString("en")}`
      + (shown < asked ? ` shown here, those that changed most (asked were ${asked.toLocaleString("en")})` : "");
    results.replaceChildren(
      element("div", { class: "cards" }, found.slice((page - 1) * CARDS, page * CARDS).map(pairCard)),
      found.length ? pager(query, page, pages) : element("p", { class: "empty" }, "No question fits. Take a filter away."));
    toolbar.replaceChildren(...tools(query));
  };
  const change = (name, value) => {
    const { query } = wanted();
    if (value) query.set(name, value);
    else query.delete(name);
    query.delete("page");
    history.replaceState(null, "", address("questions", Object.fromEntries(query)));
    const typed = document.activeElement?.type === "search";
    draw();
    if (typed) {
      const field = toolbar.querySelector("input");
      field.focus();
      field.setSelectionRange(field.value.length, field.value.length);
    }
  };
  const tools = (query) => [
    element("label", { class: "field wide" }, element("span", {}, "Search"), element("input", {
      type: "search", value: query.get("q") ?? "", placeholder: "words, or an id", input: (event) => change("q", event.target.value) })),
    choice("Result", Object.entries(RESULTS).map(([value, [text]]) => [value, text]), query.get("result") ?? "", (value) => change("result", value)),
    choice("Family", [["", "all"], ...counts(q.family, names.families).map(([name, count]) => [name, `${name} (${count.toLocaleString("en")})`])],
      query.get("family") ?? "", (value) => change("family", value)),
    choice("Sort", Object.entries(ORDERS).map(([value, [text]]) => [value, text]), query.get("sort") ?? "lost", (value) => change("sort", value)),
    [...query.keys()].length ? link("questions", {}, { class: "button quiet" }, "Clear all") : "",
  ];
  draw();
  const section = element("section", { "aria-labelledby": "title-questions" },
    element("h2", { id: "title-questions", tabindex: -1 }, "Question by question"), toolbar, status, results);
  return { section, draw };
}

function pairCard(i) {
  const { columns: q, names, piece } = data("questions");
  const kind = Object.keys(RESULTS).find((name) => name && RESULTS[name][1](q, i));
  const full = element("details", {
    toggle: () => {
      if (full.open && full.children.length === 1) {
        const texts = detail("details", i, piece);
        full.append(...texts.flatMap((text, side) => [element("h3", {}, `${SIDES[side]} wrote`),
          element("pre", { class: "mono" }, text || "(nothing)")]));
      }
    },
  }, element("summary", {}, "In full"));
  return element("article", { class: `card pair-card ${kind}` },
    element("div", { class: "card-top" }, picture(q.image[i], { class: "thumb" }),
      element("div", { class: "card-text" }, element("p", { class: "asked" }, said(q.text[i])),
        element("p", { class: "chips" }, element("span", { class: `chip ${kind}` }, RESULTS[kind][0]),
          element("span", { class: "chip" }, said(names.families[q.family[i]]))),
        element("p", { class: "right-one" }, "Truth: ", said(names.answers[q.truth[i]], { class: "answer" })))),
    [q.a[i], q.b[i]].map(([outcome, answer, votes], side) => element("section", { class: "side", "aria-label": `Answers of ${SIDES[side]}` },
      element("p", {}, element("strong", {}, `${SIDES[side]} `),
        said(answer < 0 ? "unreadable" : names.answers[answer], { class: "answer" }), " ",
        element("span", { class: `chip ${OUTCOMES[outcome][1]}` }, OUTCOMES[outcome][0])),
      votes.length ? voteParts(votes, q.truth[i]) : null)),
    full);
}

{
  const { section, draw } = pairsSection();
  document.getElementById("main").replaceChildren(...comparisonPage(), section);
  document.getElementById("tabs").append(link("overview", {}, {}, "Summary"), link("questions", {}, {}, "Questions"));
  const go = () => {
    const { name } = wanted();
    draw();
    if (name === "questions") document.getElementById("title-questions").scrollIntoView();
    else if (name === "overview") scrollTo(0, 0);
  };
  addEventListener("hashchange", go);
  applyTheme(0);
  if (location.hash) go();
}

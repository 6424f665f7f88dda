"use strict";
// Where the reader is stands in the address after the "#", so every view can be linked to and found again by "back".

let behind = "";
// Draws the cards of a list anew and leaves its filters alone; null where there is no list.
let refill = null;

function place(here = location.hash) {
  const [name, query] = here.slice(1).split("?");
  return { name, query: new URLSearchParams(query ?? "") };
}

// The address of what is shown has changed by a filter: no entry in the history, and the focus stays where it is.
function stay(here) {
  history.replaceState(null, "", here);
  behind = here;
}

function tabs() {
  const found = [["overview", "Overview"]];
  if (data("questions")) found.push(["questions", "Questions"]);
  if (data("games")) found.push(["games", "Games"]);
  return found;
}

const PAGES = { overview: overviewPage, questions: galleryPage, games: gamesPage, game: gamePage };

function show() {
  const { name, query } = place();
  if (name === "main") return;
  const sheet = document.getElementById("sheet");
  const asking = name === "question" && data("questions");
  if (!asking && sheet.open) sheet.close();
  if (!asking || behind === "") {
    const known = Object.hasOwn(PAGES, name) && (name === "overview" || (name === "questions" ? data("questions") : data("games")));
    const page = asking ? "questions" : known ? name : "overview";
    const given = asking ? new URLSearchParams() : query;
    const here = address(page, Object.fromEntries(given));
    if (here !== behind) {
      refill = null;
      document.getElementById("main").replaceChildren(...PAGES[page](given).filter((part) => part));
      if (behind !== "") scrollTo(0, 0);
    }
    behind = here;
    markTab();
  }
  if (asking) openQuestion(query.get("id") ?? "");
}

function markTab() {
  const { name } = place(behind);
  for (const each of document.querySelectorAll("#tabs a")) {
    if (each.dataset.name === (name === "game" ? "games" : name)) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
}

function showTabs() {
  document.getElementById("tabs").replaceChildren(...tabs().map(([name, text]) => {
    const made = link(name, {}, {}, text);
    made.dataset.name = name;
    return made;
  }));
}

function begin() {
  showTabs();
  show();
}

document.getElementById("sheet").addEventListener("close", () => {
  if (place().name === "question") location.hash = behind || "#questions";
});
document.addEventListener("keydown", (event) => {
  if (document.getElementById("sheet").open) sheetKeys(event);
  else gameKeys(event);
});
addEventListener("hashchange", () => { if (data("overview")) show(); });
applyTheme(0);
// A live page begins when its first data have come.
if (data("overview")) begin();

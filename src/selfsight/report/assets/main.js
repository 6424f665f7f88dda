"use strict";
// Where the reader is stands in the address after the "#", so every view can be linked to and found again by "back".

let behind = "";

function place() {
  const [name, query] = location.hash.slice(1).split("?");
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
      document.getElementById("main").replaceChildren(...PAGES[page](given).filter((part) => part));
      if (behind !== "") scrollTo(0, 0);
    }
    behind = here;
    const tab = page === "game" ? "games" : page;
    for (const each of document.querySelectorAll("#tabs a")) {
      if (each.dataset.name === tab) each.setAttribute("aria-current", "page");
      else each.removeAttribute("aria-current");
    }
  }
  if (asking) openQuestion(query.get("id") ?? "");
}

document.getElementById("tabs").append(...tabs().map(([name, text]) => {
  const made = link(name, {}, {}, text);
  made.dataset.name = name;
  return made;
}));
document.getElementById("sheet").addEventListener("close", () => {
  if (place().name === "question") location.hash = behind || "#questions";
});
document.addEventListener("keydown", (event) => {
  if (document.getElementById("sheet").open) sheetKeys(event);
  else gameKeys(event);
});
addEventListener("hashchange", show);
applyTheme(0);
show();

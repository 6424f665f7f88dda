"use strict";
// Games of "Who is the spy", played again clue by clue. Roles stay hidden until they are asked for or the game is over
// for the reader: whoever wants can guess first. Keys: arrows step, Home and End, R for roles, T for private reasoning.

const GAMES_SHOWN = 60;
const WINNERS = [["", "anybody"], ["1", "the citizens"], ["0", "the spy"]];
const game = { number: -1, step: 0, roles: false, thoughts: false, guess: 0 };

function gamesPage(query) {
  const toolbar = element("div", { class: "toolbar", role: "search", "aria-label": "Games" }, gameFilters(query));
  const status = element("p", { class: "status", role: "status" });
  const cards = element("div", { class: "cards small" });
  const results = element("div", {});
  const draw = (state) => {
    const { columns: g, shown, played } = data("games");
    const found = [...g.id.keys()].filter((i) => (!state.get("round") || g.round[i] === Number(state.get("round")))
      && (!state.get("phase") || g.phase[i] === state.get("phase"))
      && (!state.get("winner") || g.citizens_win[i] === Number(state.get("winner"))));
    const pages = Math.max(1, Math.ceil(found.length / GAMES_SHOWN));
    const page = Math.min(pages, Math.max(1, Number(state.get("page")) || 1));
    status.textContent = `${counted(found.length, "game")} of ${shown.toLocaleString("en")}`
      + (shown < played ? ` shown here (the run played ${played.toLocaleString("en")})` : "");
    renew(cards, found.slice((page - 1) * GAMES_SHOWN, page * GAMES_SHOWN).map(gameCard));
    renew(results, [found.length ? cards : element("p", { class: "empty" }, "No game fits. Take a filter away."),
      gamesPager(state, page, pages)]);
  };
  draw(query);
  refill = () => {
    const state = place(behind).query;
    if (!toolbar.contains(document.activeElement)) toolbar.replaceChildren(...gameFilters(state));
    draw(state);
  };
  return [element("h2", { class: "visually-hidden" }, "Games"), toolbar, status, results];
}

function gameFilters(query) {
  const { columns: g } = data("games");
  const rounds = [...new Set(g.round)].sort((a, b) => a - b);
  const phases = [...new Set(g.phase)].filter((phase) => phase);
  const change = (name) => (value) => {
    location.hash = address("games", { ...Object.fromEntries(place(behind).query), [name]: value, page: "" });
  };
  return [
    choice("Round", [["", "all"], ...rounds.map((r) => [String(r), String(r)])], query.get("round") ?? "", change("round")),
    choice("Training", [["", "any stage"], ...phases.map((p) => [p, `${p} stage`])], query.get("phase") ?? "", change("phase")),
    choice("Won by", WINNERS, query.get("winner") ?? "", change("winner")),
  ];
}

function gamesPager(state, page, pages) {
  const step = (number, text) => (number < 1 || number > pages ? element("span", { class: "button off", "aria-hidden": "true" }, text)
    : link("games", { ...Object.fromEntries(state), page: number }, { class: "button" }, text));
  return element("nav", { class: "pager", "aria-label": "Pages of games" }, step(page - 1, "\u2190 Previous"),
    element("span", {}, `page ${page} of ${pages}`), step(page + 1, "Next \u2192"));
}

function gameCard(i) {
  const { columns: g } = data("games");
  return element("article", { class: "card" }, element("div", { class: "card-top" }, picture(g.image[i], { class: "thumb" }),
    element("div", { class: "card-text" }, link("game", { id: g.id[i] }, { class: "question" }, said(g.id[i])),
      element("p", { class: "chips" }, element("span", { class: "chip" }, `round ${g.round[i]}`),
        g.phase[i] ? element("span", { class: "chip" }, `${g.phase[i]} stage trains`) : null,
        element("span", { class: `chip ${g.citizens_win[i] ? "right" : "wrong"}` }, g.citizens_win[i] ? "citizens win" : "spy wins"),
        g.refused[i] ? element("span", { class: "chip" }, counted(g.refused[i], "refused clue")) : null))));
}

function gamePage(query) {
  const { columns: g, piece } = data("games");
  const i = g.id.indexOf(query.get("id"));
  if (i < 0) return [element("p", { class: "empty" }, "No game here has the id ", element("code", {}, said(query.get("id") ?? "")), ".")];
  const played = detail("plays", i, piece);
  if (played === null) return [element("p", { class: "empty" }, LOADING)];
  if (game.number !== i) Object.assign(game, { number: i, step: 0, roles: false, guess: 0 });
  const page = element("div", { class: "game" });
  page.append(gameTop(i), element("div", { class: "table-view" }), element("div", { class: "controls" }), element("div", { class: "aside" }));
  drawGame(page, i, played);
  return [page];
}

function gameTop(i) {
  const { columns: g } = data("games");
  const to = (k, text, name) => (k >= 0 && k < g.id.length
    ? link("game", { id: g.id[k] }, { class: "button", "aria-label": name }, text)
    : element("span", { class: "button off", "aria-hidden": "true" }, text));
  return element("header", { class: "game-top" }, link("games", {}, { class: "button" }, "All games"),
    element("h2", {}, said(g.id[i])), element("span", { class: "quiet" }, `round ${g.round[i]}${g.phase[i] ? `, ${g.phase[i]} stage trains` : ""}`),
    element("span", { class: "spring" }), to(i - 1, "\u2190", "previous game"), to(i + 1, "\u2192", "next game"));
}

// The last step shows the votes and what they paid.
function lastStep(played) {
  return played.clues.length + 1;
}

function moveTo(page, i, played, step) {
  game.step = Math.max(0, Math.min(lastStep(played), step));
  drawGame(page, i, played);
}

function drawGame(page, i, played) {
  const over = game.step === lastStep(played);
  const roles = game.roles;
  page.querySelector(".table-view").replaceChildren(tableView(page, i, played, roles, over));
  const slider = page.querySelector(".controls input");
  if (slider === null) page.querySelector(".controls").append(...controls(page, i, played));
  syncControls(page, played);
  page.querySelector(".aside").replaceChildren(...transcript(i, played, roles), ...(over ? outcome(i, played, roles) : []));
}

function controls(page, i, played) {
  const last = lastStep(played);
  const button = (name, text, action) => element("button", { type: "button", class: "button", "aria-label": name, title: name, click: action }, text);
  const toggle = (key, name, text) => element("button", { type: "button", class: "button toggle", id: `toggle-${key}`, "aria-pressed": "false",
    title: name, click: () => { game[key] = !game[key]; drawGame(page, i, played); } }, text);
  return [
    button("first step", "|\u2190", () => moveTo(page, i, played, 0)),
    button("one step back", "\u2190", () => moveTo(page, i, played, game.step - 1)),
    element("input", { type: "range", min: 0, max: last, step: 1, value: game.step, "aria-label": "step of the game",
      input: (event) => moveTo(page, i, played, Number(event.target.value)) }),
    button("one step on", "\u2192", () => moveTo(page, i, played, game.step + 1)),
    button("last step", "\u2192|", () => moveTo(page, i, played, last)),
    element("span", { class: "where", role: "status" }),
    toggle("roles", "show who the spy is (R)", "Roles"),
    toggle("thoughts", "show private reasoning (T)", "Reasoning"),
  ];
}

function syncControls(page, played) {
  page.querySelector(".controls input").value = String(game.step);
  page.querySelector(".where").textContent = game.step === 0 ? "the cards are dealt"
    : game.step === lastStep(played) ? "the votes"
      : `clue ${game.step} of ${played.clues.length}`;
  for (const key of ["roles", "thoughts"]) {
    document.getElementById(`toggle-${key}`)?.setAttribute("aria-pressed", String(game[key]));
    page.querySelector(`#toggle-${key}`)?.setAttribute("aria-pressed", String(game[key]));
  }
}

function tableView(page, i, played, roles, over) {
  const { columns: g } = data("games");
  const heard = played.clues.slice(0, Math.min(game.step, played.clues.length));
  const speaking = game.step > 0 && !over ? heard.at(-1)[0] : 0;
  const round = element("div", { class: "round-table" });
  const middle = element("div", { class: "middle" },
    element("figure", {}, picture(g.image[i], {}), element("figcaption", {}, "what the citizens see")),
    roles ? element("figure", {}, picture(g.spy_image[i], {}), element("figcaption", {}, `what the spy sees (${played.view})`)) : null);
  round.append(middle);
  for (let seat = 1; seat <= g.players[i]; seat += 1) {
    const angle = ((seat - 1) / g.players[i]) * 2 * Math.PI - Math.PI / 2;
    const mine = heard.filter(([who]) => who === seat).at(-1);
    const spy = seat === g.spy[i];
    const place = element("section", {
      class: `seat${seat === speaking ? " speaking" : ""}${roles ? (spy ? " spy" : " citizen") : ""}${game.guess === seat ? " guessed" : ""}`,
      "aria-label": `player ${seat}`,
    },
    element("p", { class: "who" }, element("span", { class: "number" }, String(seat)),
      roles ? (spy ? "spy" : "citizen") : "player",
      over ? element("span", { class: "got" }, `${counted(played.votes[seat - 1], "vote")}`) : null),
    mine ? element("p", { class: `clue${mine[4] ? " refused" : ""}` }, said(mine[2])) : element("p", { class: "clue quiet" }, "\u2026"),
    mine && mine[4] ? element("p", { class: "quiet" }, "refused: ", said(mine[4])) : null,
    over && roles ? element("p", { class: "paid" }, `clue reward ${signed(played.rewards[seat - 1])}`,
      played.advantages ? `, advantage ${signed(played.advantages[seat - 1])}` : "") : null,
    roles ? null : element("button", { type: "button", class: "button guess", "aria-pressed": String(game.guess === seat),
      click: () => { game.guess = seat; drawGame(page, i, played); } }, "the spy?"));
    place.style.setProperty("--x", Math.cos(angle).toFixed(3));
    place.style.setProperty("--y", Math.sin(angle).toFixed(3));
    round.append(place);
  }
  const verdictOf = roles && game.guess
    ? element("p", { class: "guess-result", role: "status" }, game.guess === g.spy[i]
      ? `Right: player ${g.spy[i]} is the spy.` : `You guessed player ${game.guess}; the spy is player ${g.spy[i]}.`) : null;
  return element("div", {}, round, verdictOf);
}

function signed(value) {
  if (value === null || Math.abs(value) < 5e-5) return "0";
  return `${value > 0 ? "+" : ""}${plain(value, 4)}`;
}

function transcript(i, played, roles) {
  const { columns: g } = data("games");
  const heard = played.clues.slice(0, Math.min(game.step, played.clues.length));
  return [block("What was said", heard.length ? null : element("p", { class: "quiet" }, "Nothing yet. \u2192 is the next step."),
    element("ol", { class: "said" }, heard.map(([seat, round, clue, note, reason]) => element("li", {},
      element("strong", {}, `player ${seat}${roles && seat === g.spy[i] ? " (spy)" : ""}`), element("span", { class: "quiet" }, ` round ${round} `),
      said(clue, { class: reason ? "refused" : "" }), reason ? element("span", { class: "quiet" }, " refused: ", said(reason)) : null,
      game.thoughts && note ? element("p", { class: "note" }, said(note)) : null))))];
}

function outcome(i, played, roles) {
  const { columns: g } = data("games");
  const name = (vote) => (vote > 0 ? `player ${vote}` : vote === 0 ? "n/a" : "invalid");
  const ballots = played.ballots.map(({ voter, votes }) => element("li", {},
    element("strong", {}, voter === null ? "the referee" : `player ${voter}`), ": ",
    votes.map(([vote, reward]) => element("span", { class: `chip${roles && vote ? (vote === g.spy[i] ? " right" : " wrong") : ""}` },
      roles ? `${name(vote)} ${signed(reward)}` : name(vote))),
    game.thoughts ? element("ol", {}, votes.map(([, , text]) => element("li", { class: "note" }, said(text || "(nothing)")))) : null));
  const parts = [block("Votes", element("ul", { class: "ballots" }, ballots))];
  if (roles) {
    parts.push(block(g.citizens_win[i] ? "The citizens win" : "The spy wins", element("pre", { class: "mono wrap" }, played.lines.join("\n"))));
  } else {
    parts.push(element("p", { class: "quiet" }, "Show the roles (R) to see who won, and what everybody earned."));
  }
  return parts;
}

function gameKeys(event) {
  const page = document.querySelector(".game");
  if (page === null || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input, select, textarea") && event.key.startsWith("Arrow")) return;
  const played = detail("plays", game.number, data("games").piece);
  if (played === null) return;
  const steps = { ArrowRight: game.step + 1, ArrowLeft: game.step - 1, Home: 0, End: lastStep(played) };
  const flips = { r: "roles", t: "thoughts" };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in flips) {
    game[flips[key]] = !game[flips[key]];
    drawGame(page, game.number, played);
  } else if (key in steps) {
    event.preventDefault();
    moveTo(page, game.number, played, steps[key]);
  }
}

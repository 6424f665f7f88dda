"use strict";
// The live page: asks its own server what has changed, fetches that, and shows it without taking the reader away from
// what is open, chosen, scrolled to or typed. What comes is data like that of a report: text nodes, never markup.

const EVERY = { running: 3000, elsewhere: 3000, other: 15000 };
const SAID = {
  running: "running", elsewhere: "on another machine", finished: "finished", stopped: "stopped",
  unreadable: "the run cannot be read any more", away: "the server has ended", "": "",
};
// Blocks that are always here. Details come when they are shown, and are then kept up to date.
const ALWAYS = ["overview", "questions", "games", "album"];
const live = { tag: "", status: "", reached: "", written: 0, ahead: 0, names: {}, have: {}, waiting: new Set(), timer: 0, busy: false };

// A piece that cannot be had now, since the run has moved on, is among those that the next look fetches.
whenAbsent = async (name) => {
  if (live.names[name] === undefined || live.waiting.has(name)) return;
  live.waiting.add(name);
  try {
    parsed.set(name, await fetchBlock(name));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return;
  }
  live.waiting.delete(name);
  showAgain();
};

async function ask(address, headers = {}) {
  const answer = await fetch(address, { headers, cache: "no-store", credentials: "omit", redirect: "error" });
  if (!answer.ok && answer.status !== 304) throw new TypeError(`${address}: ${answer.status}`);
  return answer;
}

async function fetchBlock(name) {
  const wanted = live.names[name];
  const value = await (await ask(`data/${wanted}`)).json();
  live.have[name] = wanted;
  return value;
}

// Asks once. Whatever cannot be fetched is asked for again the next time: the run may have moved on in between.
async function look() {
  if (live.busy) return;
  live.busy = true;
  clearTimeout(live.timer);
  try {
    const answer = await ask("state", live.tag ? { "If-None-Match": live.tag } : {});
    live.ahead = Date.parse(answer.headers.get("date")) - Date.now();
    if (answer.status === 200) {
      const state = await answer.json();
      await take(state.blocks);
      Object.assign(live, { written: state.written, reached: state.status, tag: answer.headers.get("etag") });
    }
    live.status = live.reached;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    live.status = live.reached ? "away" : "";
    live.tag = "";
  } finally {
    live.busy = false;
    if (!document.hidden) live.timer = setTimeout(look, EVERY[live.status] ?? EVERY.other);
  }
  tell();
}

async function take(names) {
  live.names = names;
  const changed = Object.keys({ ...names, ...live.have }).filter((name) => names[name] !== live.have[name]
    && (ALWAYS.includes(name) || live.have[name] !== undefined || live.waiting.has(name)));
  if (!changed.length) return;
  const values = await Promise.all(changed.map((name) => (names[name] === undefined ? null : fetchBlock(name))));
  const first = data("overview") === null;
  const before = playedNow();
  const waited = changed.some((name) => live.waiting.has(name));
  changed.forEach((name, i) => {
    parsed.set(name, values[i]);
    live.waiting.delete(name);
    if (names[name] === undefined) delete live.have[name];
  });
  forgetQuestions();
  if (first) begin();
  else redraw(before);
  if (waited) showAgain();
}

// What is shown, from the new data.
function redraw(before) {
  if (document.querySelectorAll("#tabs a").length !== tabs().length) {
    showTabs();
    markTab();
    show();
  }
  const { name, query } = place(behind);
  if (refill) keepingFocus(refill);
  else if (name === "game") redrawGame(query.get("id"), before);
  else keepingFocus(() => renew(document.getElementById("main"), PAGES[name](query)));
  if (document.getElementById("sheet").open) redrawSheet();
}

// A piece of details has come that something on the page was waiting for.
function showAgain() {
  const { name, query } = place();
  if (document.getElementById("sheet").open) openQuestion(query.get("id") ?? "");
  else if (name === "game") document.getElementById("main").replaceChildren(...gamePage(query));
}

// A game that was played does not change, but others follow it, and its number may be another one.
function redrawGame(id, before) {
  const number = data("games").columns.id.indexOf(id);
  const top = document.querySelector(".game-top");
  if (top !== null && number === game.number && playedNow() === before) {
    keepingFocus(() => top.replaceWith(gameTop(number)));
  } else {
    game.number = number;
    keepingFocus(() => document.getElementById("main").replaceChildren(...gamePage(new URLSearchParams({ id }))));
  }
}

// What was played in the game that is shown, to be compared.
function playedNow() {
  return document.querySelector(".game-top") ? JSON.stringify(detail("plays", game.number, data("games").piece)) : "";
}

function redrawSheet() {
  const sheet = document.getElementById("sheet");
  const id = place().query.get("id") ?? "";
  const body = sheet.querySelector(".sheet-body");
  if (numberOf(id) === undefined) return;
  if (body === null) {
    openQuestion(id);
    return;
  }
  const [top, fresh] = questionSheet(numberOf(id));
  keepingFocus(() => {
    const old = sheet.querySelector(".sheet-top");
    if (!old.isEqualNode(top)) old.replaceWith(top);
    if (body.textContent !== fresh.textContent) body.replaceWith(fresh);
  });
}

const FOCUSABLE = "a, button, input, select, summary, svg[tabindex]";

// Runs `draw`; then what had the focus has it again, what was unfolded is, and the heading above stays where it was.
function keepingFocus(draw) {
  const within = document.getElementById("sheet").open ? document.getElementById("sheet") : document.getElementById("main");
  const held = document.activeElement;
  const all = [...within.querySelectorAll(FOCUSABLE)];
  const [at, href] = [all.indexOf(held), held?.getAttribute("href")];
  const unfolded = new Set([...within.querySelectorAll("details[open] > summary")].map((each) => each.textContent));
  const heading = [...within.querySelectorAll("h2[id]")].findLast((each) => each.getBoundingClientRect().top < 200)?.id;
  const before = heading && document.getElementById(heading).getBoundingClientRect().top;
  draw();
  for (const summary of within.querySelectorAll("details:not([open]) > summary")) {
    if (unfolded.has(summary.textContent)) summary.parentElement.open = true;
  }
  const after = heading && document.getElementById(heading)?.getBoundingClientRect().top;
  if (heading && after !== undefined && after !== before) scrollBy(0, after - before);
  if (at < 0 || document.activeElement === held) return;
  const now = [...within.querySelectorAll(FOCUSABLE)];
  const again = now.find((each) => href && each.getAttribute("href") === href) ?? now[at];
  again?.focus({ preventScroll: true });
}

// How the run is, and how long ago it wrote. Only a change of how it is is read aloud.
function tell() {
  const ago = Math.max(0, (Date.now() + live.ahead) / 1000 - live.written);
  const when = live.written && live.status && live.status !== "finished" ? `last step ${duration(ago)} ago` : "";
  const line = document.getElementById("live");
  const said = live.status ? [SAID[live.status], when ? ` \u00b7 ${when}` : ""] : ["", ""];
  if (line.textContent !== said.join("")) {
    line.className = `live is-${live.status || "unknown"}`;
    line.replaceChildren(element("strong", {}, said[0]), said[1]);
  }
  const aloud = document.getElementById("live-change");
  if (aloud.textContent !== SAID[live.status]) aloud.textContent = SAID[live.status];
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
setInterval(tell, 1000);
look();

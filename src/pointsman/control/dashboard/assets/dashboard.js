// What pages do beyond what the server made: live updates, times in the browser's zone, light and dark, keys. No library.
"use strict";

const THEMES = ["system", "light", "dark"];
const LIVE_MS = 2000;
const root = document.documentElement;

function theme() {
  try { return localStorage.getItem("theme") || "system"; } catch { return "system"; }
}

function showTheme() {
  if (theme() === "system") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", theme());
  const button = document.getElementById("theme");
  if (button) { button.hidden = false; button.textContent = "Theme: " + theme(); }
}

function nextTheme() {
  try { localStorage.setItem("theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]); } catch { return; }
  showTheme();
}

showTheme(); // before anything is painted

function two(number) { return String(number).padStart(2, "0"); }

function showTimes(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (isNaN(at)) continue;
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    one.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }
}

async function update(live) {
  let said = "";
  try {
    const answer = await fetch(live.dataset.from, { headers: { accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") { location.href = "/login?next=" + encodeURIComponent(location.pathname); return; }
    if (!answer.ok) said = `Not updated: the router answered ${answer.status}.`;
    else {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      showTimes(fresh);
      const scrolled = [...live.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
      live.replaceChildren(...fresh.body.childNodes);
      live.querySelectorAll(".scroll").forEach((one, n) => { one.scrollLeft = scrolled[n] || 0; });
    }
  } catch { said = "Not updated: the router cannot be reached."; }
  const note = document.getElementById("stale");
  note.textContent = said;
  note.hidden = !said;
}

async function fetchLater(part) { // what takes longer than a page should
  const said = document.createElement("p");
  said.className = "empty";
  said.textContent = "Being reckoned …";
  part.replaceChildren(said);
  try {
    const answer = await fetch(part.dataset.later, { headers: { accept: "text/html" }, redirect: "manual" });
    if (!answer.ok) { said.textContent = "Not there: the router did not answer. Load this page again."; return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    showTimes(fresh);
    part.replaceChildren(...fresh.body.childNodes);
    part.setAttribute("data-there", "");
  } catch { said.textContent = "Not there: the router cannot be reached. Load this page again."; }
}

function keepLive() {
  const live = document.getElementById("live");
  if (!live) return;
  setInterval(() => { if (!document.hidden && !live.matches(":focus-within")) update(live); }, LIVE_MS);
}

let before = "";
let row = -1;

function move(step) {
  const rows = [...document.querySelectorAll("tbody tr")].filter((one) => one.querySelector("td a"));
  if (!rows.length) return;
  row = Math.max(0, Math.min(rows.length - 1, row + step));
  rows[row].querySelector("td a").focus();
  rows[row].scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  const [last, key] = [before, event.key];
  before = key;
  if (last === "g") {
    const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
    if (link) { event.preventDefault(); location.href = link.href; }
    return;
  }
  const search = document.querySelector("input[type=search]");
  if (key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
  else if (key === "?") document.getElementById("help").showModal();
  else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "t") nextTheme();
}

document.addEventListener("DOMContentLoaded", () => {
  showTheme();
  showTimes(document);
  const zone = document.getElementById("zone");
  if (zone) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  document.getElementById("theme").addEventListener("click", nextTheme);
  document.addEventListener("keydown", onKey);
  for (const one of document.querySelectorAll("select[data-submit]")) one.addEventListener("change", () => one.form.submit());
  document.querySelectorAll("[data-later]").forEach(fetchLater);
  keepLive();
  root.setAttribute("data-ready", "");
});

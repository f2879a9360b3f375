// The page polls the API each second, and draws what has changed. All text goes through textContent: some of it is the peers'.

import { Chart, element } from "./chart.js";

const API = "api/v1";
const EVERY = 1000;
const MOST_ROWS = 1000;
const $ = (id) => document.getElementById(id);

const count = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => `${count(value)}/s`;
const bytes = (value) => {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : count(value)} ${unit}`;
    value /= 1000;
  }
};
const seconds = (value) => value < 10 ? `${value.toFixed(1)} s` : value < 60 ? `${Math.round(value)} s`
  : value < 3600 ? `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
  : `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;

const COLUMNS = [
  ["id", "Id", (row) => row.id, "number"],
  ["peer", "Peer", (row) => row.peer, ""],
  ["endpoint", "Endpoint", (row) => row.endpoint, "wide"],
  ["age", "Age", (row) => seconds(row.age), "number"],
  ["idle", "Idle", (row) => seconds(row.idle), "number wide"],
  ["bytes_in", "In", (row) => bytes(row.bytes_in), "number"],
  ["bytes_out", "Out", (row) => bytes(row.bytes_out), "number"],
  ["replies", "Replies", (row) => count(row.replies), "number wide"],
  ["state", "State", (row) => row.state, ""],
  ["thread", "Thread", (row) => row.thread ?? "", "wide"],
];

const charts = {
  active: new Chart($("charts"), "Connections open", count),
  accepted: new Chart($("charts"), "Accepted", rate),
  replies: new Chart($("charts"), "Replies", rate),
  in: new Chart($("charts"), "Received", (value) => `${bytes(value)}/s`),
  out: new Chart($("charts"), "Sent", (value) => `${bytes(value)}/s`),
};

let token = "";
let sort = "-age";
let before = null;
let last = null;
let asking = false;

// -- asking the server

class Refused extends Error {
  constructor(status, problem) {
    super(problem);
    this.status = status;
  }
}

async function ask(path, method = "GET", body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body) };
  const reply = await fetch(`${API}/${path}`, options);
  const answer = await reply.json();
  if (!reply.ok) throw new Refused(reply.status, answer.error);
  return answer;
}

async function act(what, done) {
  try {
    const answer = await what();
    say(done(answer));
  } catch (error) {
    say(error.message);
  }
  poll();
}

function say(text) {
  $("said").textContent = text;
  $("said").hidden = !text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("said").hidden = true; }, 4000);
}

// -- drawing

function show(snapshot, listed, why, threads, moment) {
  last = { snapshot, listed, why, threads };
  const { counters, faults } = snapshot;
  $("about").textContent = `${snapshot.version} · ${snapshot.handler} · mode ${snapshot.mode} · up ${seconds(snapshot.uptime)} · `
    + snapshot.endpoints.map((entry) => entry.endpoint).join(", ");
  state(snapshot.state, snapshot.state === "serving" ? "" : "warn");
  if (before) {
    const gone = Math.max(0.2, (moment - before.moment) / 1000);
    const per = (name) => Math.max(0, (counters[name] - before.counters[name]) / gone);
    charts.accepted.add(per("accepted"));
    charts.replies.add(per("replies"));
    charts.in.add(per("bytes_in"));
    charts.out.add(per("bytes_out"));
  }
  charts.active.add(counters.active);
  before = { counters, moment };
  fill($("why"), why.sentences, (item, sentence) => {
    item.textContent = sentence;
    item.className = sentence.startsWith("nothing is wrong") ? "fine" : "";
  }, "li");
  showConnections(listed, snapshot.limits.max_connections);
  const ends = Object.entries(counters.closed).filter(([, value]) => value).sort((a, b) => b[1] - a[1]);
  table($("ends"), [...ends, ["rejected", counters.rejected]].map(([name, value]) => [name, count(value)]));
  table($("threads"), threads.threads.map((thread) => [thread.name, thread.doing, thread.where ?? ""]));
  $("faults").textContent = faults.rules.length ? `${faults.rules.join(", ")} (seed ${faults.seed})` : "New connections meet none.";
  const happened = Object.entries(counters.faults ?? {}).filter(([, value]) => value);
  if (happened.length) $("faults").textContent += ` So far: ${happened.map(([kind, value]) => `${kind} ${count(value)}`).join(", ")}.`;
  if (document.activeElement !== $("level")) $("level").value = snapshot.log_level;
  for (const id of ["reload", "drain"]) $(id).disabled = snapshot.state !== "serving";
}

function state(text, kind) {
  $("state").textContent = text;
  $("state").className = `state ${kind}`;
}

function showConnections(listed, most) {
  const head = $("connections").tHead;
  if (!head.rows.length) {
    const row = head.insertRow();
    for (const [name, title, , className] of COLUMNS) {
      const cell = element("th", className, row);
      const button = element("button", "", cell);
      button.type = "button";
      button.dataset.name = name;
      button.textContent = title;
      button.addEventListener("click", () => { sort = sort === `-${name}` ? name : `-${name}`; poll(); });
    }
  }
  for (const button of head.querySelectorAll("button")) {
    const { name } = button.dataset;
    const order = sort === name ? "ascending" : sort === `-${name}` ? "descending" : "none";
    button.parentElement.setAttribute("aria-sort", order);
    button.textContent = COLUMNS.find((column) => column[0] === name)[1] + { ascending: " ▲", descending: " ▼", none: "" }[order];
  }
  fill($("connections").tBodies[0], listed.connections, (line, row) => {
    line.tabIndex = 0;
    line.dataset.id = row.id;
    COLUMNS.forEach(([, , text, className], index) => {
      const cell = line.cells[index] ?? element("td", className, line);
      const wanted = text(row);
      if (cell.textContent !== wanted) cell.textContent = wanted;
    });
  }, "tr");
  $("none").hidden = listed.total > 0;
  const shown = listed.connections.length < listed.matched ? `, ${count(listed.connections.length)} shown` : "";
  $("matched").textContent = `${count(listed.matched)} of ${count(listed.total)} open${shown}; ${count(most)} allowed`;
}

// Draws items into the children of a parent, and keeps those that are there: focus and selection stay.
function fill(parent, items, draw, tag) {
  items.forEach((item, index) => draw(parent.children[index] ?? element(tag, "", parent), item));
  while (parent.children.length > items.length) parent.lastElementChild.remove();
}

function table(where, rows) {
  fill(where.tBodies[0], rows, (line, row) => row.forEach((text, index) => {
    const cell = line.cells[index] ?? element("td", "", line);
    if (cell.textContent !== text) cell.textContent = text;
  }), "tr");
}

// -- one connection

async function details(id) {
  try {
    const found = await ask(`connections/${encodeURIComponent(id)}`);
    $("details-title").textContent = `Connection ${id}`;
    fill($("details-why"), found.why, (item, sentence) => { item.textContent = sentence; }, "li");
    const facts = [...Object.entries(found.connection), ...Object.entries(found.kernel ?? {}).map(([name, value]) => [`kernel: ${name}`, value])];
    const known = facts.filter(([, value]) => value !== null && value !== "" && value.length !== 0);
    table($("details-table"), known.map(([name, value]) => [name.replaceAll("_", " "), `${value}`]));
    $("details-stack").textContent = found.stack.join("\n");
    $("details-stack").hidden = !found.stack.length;
    $("details").dataset.id = id;
    $("details").returnValue = "";
    $("details").showModal();
  } catch (error) {
    say(error.message);
  }
}

function confirmed(text, yes) {
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask").returnValue = "";
  $("ask").showModal();
  return new Promise((resolve) => $("ask").addEventListener("close", () => resolve($("ask").returnValue === "yes"), { once: true }));
}

$("details").addEventListener("close", async () => {
  const { id } = $("details").dataset;
  if ($("details").returnValue === "kill" && await confirmed(`End connection ${id} at once?`, "Kill")) {
    act(() => ask(`connections/${encodeURIComponent(id)}`, "DELETE"), () => `Killed ${id}.`);
  }
});
$("connections").addEventListener("click", (event) => {
  const line = event.target.closest("tbody tr");
  if (line) details(line.dataset.id);
});
$("connections").addEventListener("keydown", (event) => {
  const line = event.target.closest("tbody tr");
  if (!line) return;
  const other = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
  if (other) other.focus();
  else if (event.key === "Enter") details(line.dataset.id);
  else return;
  event.preventDefault();
});

// -- acting on the server

$("filter").addEventListener("input", () => poll());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) {
    $("filter").focus();
    event.preventDefault();
  }
});
$("reload").addEventListener("click", async () => {
  if (await confirmed("Read the configuration again?", "Reload")) {
    act(() => ask("reload", "POST"), (answer) => `Reloaded; changed: ${answer.changed.join(", ") || "nothing"}.`);
  }
});
$("drain").addEventListener("click", async () => {
  if (await confirmed("Stop the server? Open connections get their replies, and no peer is accepted any more.", "Drain")) {
    act(() => ask("drain", "POST"), (answer) => `Draining ${answer.draining} connections.`);
  }
});
$("set-faults").addEventListener("submit", (event) => {
  event.preventDefault();
  const rules = $("rules").value.split("\n").map((rule) => rule.trim()).filter(Boolean);
  act(() => ask("faults", "POST", { rules, seed: Number.parseInt($("seed").value, 10) || 0 }), () => "New connections meet these faults.");
});
$("clear").addEventListener("click", () => act(() => ask("faults", "DELETE"), () => "New connections meet no faults."));
$("level").addEventListener("change", () => act(() => ask("log-level", "POST", { level: $("level").value }), (answer) => `Logging from ${answer.level} upwards.`));
$("save").addEventListener("click", save);

// One file that still shows it all: the page as it is, its style in it, and no script.
async function save() {
  const style = await (await fetch("page.css")).text();
  const copy = document.documentElement.cloneNode(true);
  for (const gone of copy.querySelectorAll("script, link, dialog, .buttons, form, #said, select")) gone.remove();
  copy.querySelector("head").append(Object.assign(document.createElement("style"), { textContent: style }));
  copy.querySelector("#state").textContent = `saved ${new Date().toISOString()}`;
  const data = element("script", "", copy.querySelector("body"));
  data.type = "application/json";
  data.textContent = JSON.stringify(last).replaceAll("<", "\\u003c");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`<!doctype html>\n${copy.outerHTML}`], { type: "text/html" }));
  link.download = `echoserver-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// -- polling

async function poll() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const query = new URLSearchParams({ sort, limit: MOST_ROWS, peer: $("filter").value });
    const answers = await Promise.all([ask("snapshot"), ask(`connections?${query}`), ask("why"), ask("threads")]);
    show(...answers, performance.now());
  } catch (error) {
    if (error instanceof Refused && error.status === 401) await login();
    else state(error instanceof Refused ? error.message : "the server does not answer", "bad");
  } finally {
    asking = false;
  }
}

function login() {
  state("needs a token", "warn");
  if ($("login").open) return undefined;
  $("login").showModal();
  return new Promise((resolve) => $("login").addEventListener("close", () => {
    token = $("token").value;
    $("token").value = "";
    resolve();
  }, { once: true }));
}

document.addEventListener("visibilitychange", () => poll());
setInterval(poll, EVERY);
poll();

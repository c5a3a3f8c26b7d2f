// The Coverage page at work; coverage_page.py puts this into coverage.html.
"use strict";
const HOUR = 3600e3, by = id => document.getElementById(id);
const ROOT = new URL("..", location.href);
const KINDS = {
  final: ["●", "final: proven, and seven days old"],
  settled: ["✓", "settled: every mailbox is proven"],
  named: ["±", "settled, but for a loss that is named"],
  proven: ["○", "proven, not sealed since"],
  part: ["%", "percent of mailboxes proven so far"],
  none: ["·", "not proven yet"],
  gap: ["!", "an open gap: something may be missing"],
  running: ["…", "not over yet"],
};
const CAUSES = {
  lapsed: "the subscription had lapsed", missed: "Graph said it missed notifications",
  removed: "Graph removed the subscription", silent: "the subscription was silent",
  token_lost: "delta state was lost", receiver_down: "no receiver was there, or it refused",
  parked: "the mailbox could not be read", witness: "Graph counts other items than we do",
  unavailable: "delta is not to be had", reauthorized: "authorization had ended",
};
const LOSSES = {
  timing: "only the exact time", created_and_purged: "what came and was purged inside",
  changes: "changes undone or overtaken inside", all: "anything",
};
let data = null, anchor = null, chosen = null, until = null, length = 48;

// In Airflow this page stands in a frame: links belong to the page around it.
function visit(event, path) {
  event.preventDefault();
  const there = window.parent.document, link = there.createElement("a");
  link.href = new URL(path, ROOT).href;
  if (event.ctrlKey || event.metaKey || event.button === 1) link.target = "_blank";
  there.body.append(link); link.click(); link.remove();
}
function make(tag, more, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(more || {}))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : value);
  made.append(...inside.filter(one => one !== null && one !== undefined));
  return made;
}
const link = (path, words) => make("a", { href: new URL(path, ROOT).href,
  onclick: event => visit(event, path) }, words);
const number = n => (n || 0).toLocaleString("en");
const iso = at => new Date(at).toISOString();
const minute = at => at ? iso(at).slice(0, 16).replace("T", " ") : "until now";
const hourOf = at => iso(at).slice(0, 13);
const start = name => Date.parse(name + ":00:00Z");

function kindOf(cell) {
  if (start(cell.hour) + HOUR > Date.parse(data.graph_now)) return "running";
  if (cell.open_gaps) return "gap";
  if (cell.maturity !== "open") return cell.gaps ? "named" : cell.maturity;
  if (!cell.complete) return "none";
  return cell.complete >= cell.mailboxes ? "proven" : "part";
}
function words(cell) {
  const kind = kindOf(cell);
  const said = kind === "part" ? "partly proven" : KINDS[kind][1];
  return `${cell.hour.replace("T", " ")}:00, ${said}; ${number(cell.complete)} of ` +
    `${number(cell.mailboxes)} mailboxes proven, ${number(cell.rows)} events` +
    (cell.open_gaps ? `, ${number(cell.open_gaps)} open gaps` : "");
}
function square(domain, cell) {
  const kind = kindOf(cell), key = `${domain}|${cell.hour}`;
  const sign = kind === "part" ? Math.floor(100 * cell.complete / cell.mailboxes) : KINDS[kind][0];
  return make("button", { class: kind, tabindex: "-1", title: words(cell), "data-key": key,
    "aria-label": words(cell), onclick: event => choose(domain, cell, event.shiftKey) },
  String(sign));
}
function drawMaps() {
  const maps = [];
  for (const [domain, cells] of Object.entries(data.cells)) {
    const days = new Map();
    for (const cell of cells) {
      const [day, hour] = cell.hour.split("T");
      if (!days.has(day)) days.set(day, new Map());
      days.get(day).set(Number(hour), cell);
    }
    const hours = [...Array(24).keys()];
    maps.push(make("table", { class: "map", role: "grid" },
      make("caption", {}, make("b", {}, domain)),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span",
        { class: "hidden" }, "day")), ...hours.map(hour =>
        make("th", { scope: "col" }, String(hour).padStart(2, "0"))))),
      make("tbody", {}, ...[...days].map(([day, of]) => make("tr", {},
        make("th", { scope: "row" }, day), ...hours.map(hour =>
          make("td", {}, of.has(hour) ? square(domain, of.get(hour)) : "")))))));
  }
  by("maps").replaceChildren(...(maps.length ? maps : [make("p", { class: "soft" },
    "Nobody was watched in these hours. A tenant appears when outlook_subscriptions has run.")]));
  const first = document.querySelector(`[data-key="${CSS.escape(chosen || "")}"]`) ||
    document.querySelector(".map button");
  if (first) first.tabIndex = 0;
  mark();
}
function mark() {
  for (const one of document.querySelectorAll(".map button")) {
    const [domain, hour] = one.dataset.key.split("|");
    one.classList.toggle("chosen", Boolean(anchor && anchor.domain === domain &&
      hour >= anchor.first && hour <= anchor.last));
  }
}
function choose(domain, cell, extend) {
  if (extend && anchor && anchor.domain === domain) {
    const [a, b] = [anchor.from, cell.hour].sort();
    anchor = { domain, from: anchor.from, first: a, last: b };
  } else anchor = { domain, from: cell.hour, first: cell.hour, last: cell.hour };
  chosen = `${domain}|${cell.hour}`;
  mark(); drawDetail(domain, cell);
}
function runLink(dag, hour) {
  const run = (data.runs[hour] || {})[dag];
  return run ? link(`dags/${dag}/runs/${encodeURIComponent(run.run_id)}`,
    `${dag} of this hour (${run.state})`) : link(`dags/${dag}/runs`,
    `${dag}: no run of this hour; all runs`);
}
function drawDetail(domain, cell) {
  const many = anchor.first !== anchor.last;
  const end = hourOf(start(anchor.last) + HOUR);
  by("detail").hidden = false;
  by("detail").replaceChildren(
    make("h3", {}, `${domain}, ${anchor.first.replace("T", " ")}:00 to ` +
      `${end.replace("T", " ")}:00 UTC`),
    make("p", {}, words(cell) + "."),
    make("p", {}, cell.sealed ? (cell.dirty ? "Its file is there; something newer waits for the " +
      "next export." : "Its file is there.") : "It has no file yet.", cell.gaps > cell.open_gaps ?
      ` ${number(cell.gaps - cell.open_gaps)} gap(s) ended with their loss named.` : ""),
    make("p", { class: "links" }, runLink("outlook_catch_up", cell.hour),
      runLink("outlook_export", cell.hour),
      make("button", { onclick: () => openForm(domain, anchor.first, end) },
        many ? "Reprocess these hours…" : "Reprocess this hour…")));
}
function rows(place, heads, lines, none) {
  by(place).replaceChildren(lines.length ? make("table", { class: "rows" },
    make("thead", {}, make("tr", {}, ...heads.map(head => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...lines.map(line => make("tr", {},
      ...line.map(one => make("td", {}, one ?? "")))))) : make("p", { class: "soft" }, none));
}
function drawRest() {
  const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);
  const open = sum(data.gaps.filter(one => one.state === "open"), one => one.gaps);
  const partial = sum(data.gaps.filter(one => one.state === "partial"), one => one.gaps);
  const parked = sum(data.parked, one => one.mailboxes), budget = data.budget;
  const age = data.freshness.last_commit_age_s;
  const tile = (name, value, more, alarm) => make("li", { class: alarm ? "alarm" : null }, name,
    make("b", {}, value), make("span", { class: "soft" }, more));
  by("graph_now").textContent = `Graph time ${minute(data.graph_now)} UTC`;
  by("tiles").replaceChildren(
    tile("Last commit", age === null ? "none yet" : age < 120 ? `${Math.round(age)} s ago` :
      `${number(Math.round(age / 60))} min ago`,
    `${number(data.freshness.hints_due)} looks due, ${number(data.freshness.hints_waiting)} waiting`),
    tile("Open gaps", number(open), `${number(partial)} ended with their loss named`, open > 0),
    tile("Parked mailboxes", number(parked), "cannot be read; asked again daily", parked > 0),
    tile("Silent subscriptions", number(data.silent.mailboxes),
      `${number(data.silent.doubted)} more are doubted`, data.silent.mailboxes > 0),
    tile("Throttled now", `${number(budget.throttled_mailboxes)} mailboxes`,
      budget.throttled_mailboxes ? `the longest for ${number(budget.longest_pause_s)} s` :
        `Graph allows ${number(budget.global_per_s)} requests/s`,
      budget.throttled_mailboxes > 0),
    tile("Full rounds wanted", number(budget.rounds_wanted),
      `a backfill takes up to ${number(budget.backfill_per_s)} requests/s; live goes first`));
  rows("gaps", ["state", "why", "may be missing", "mailboxes", "from", "to", ""],
    data.gaps.map(one => [one.state, CAUSES[one.cause] || one.cause, LOSSES[one.loss] || one.loss,
      number(one.mailboxes), minute(one.from_at), minute(one.to_at),
      one.state === "open" ? make("button", { onclick: () => openForm("", hourOf(one.from_at),
        hourOf(Math.ceil(Date.parse(one.to_at) / HOUR) * HOUR)) }, "Reprocess…") : ""]),
    "None: no notification is known to be lost in these hours.");
  rows("tenants", ["tenant", "state", "live", "parked", "all proven until", "reason"],
    data.tenants.map(one => [one.domain_id, one.state, number(one.live), number(one.parked),
      one.complete_through ? minute(one.complete_through) : "not yet", one.reason]), "None yet.");
  rows("parked", ["why", "mailboxes"],
    data.parked.map(one => [one.reason || "no reason given", number(one.mailboxes)]), "None.");
  rows("reprocesses", ["started", "tenant", "window", "state", ""],
    data.reprocesses.map(one => [minute(one.at), one.tenant || "every tenant",
      `${(one.first_hour || "").slice(0, 13)} to ${(one.end_hour || "").slice(0, 13)}`, one.state,
      link(`dags/outlook_reprocess/runs/${encodeURIComponent(one.run_id)}`, "open the run")]),
    "None yet.");
}
function say(text, bad, more) {
  by("said").className = bad ? "bad" : "";
  by("said").replaceChildren(...[text, more].filter(Boolean));
}
async function refresh() {
  const asked = new URLSearchParams();
  if (until) asked.set("to", hourOf(until));
  if (until || data) asked.set("from", hourOf(edge() - length * HOUR)); // else the server's 48 hours
  try {
    const answer = await fetch("data?" + asked);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail || answer.statusText);
    const focused = document.activeElement?.dataset?.key;
    data = told;
    drawMaps(); drawRest();
    if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    if (by("said").className === "bad") say("");
  } catch (error) { say(`The figures cannot be read: ${error.message}`, true); }
}
function openForm(domain, first, end) {
  by("f_tenant").replaceChildren(make("option", { value: "" }, "Every tenant"),
    ...data.tenants.map(one => make("option", {}, one.domain_id)));
  by("f_tenant").value = domain;
  by("f_from").value = first + ":00"; by("f_to").value = end + ":00";
  by("refused").textContent = ""; by("form").showModal(); by("f_reason").focus();
}
async function send(event) {
  event.preventDefault();
  const conf = { tenant: by("f_tenant").value || null, first_hour: by("f_from").value + ":00+00:00",
    end_hour: by("f_to").value + ":00+00:00", mailboxes: by("f_whom").value,
    listed: by("f_listed").value.split(/\s+/).filter(Boolean), depth: by("f_depth").value,
    reason: by("f_reason").value };
  const answer = await fetch(new URL("api/v2/dags/outlook_reprocess/dagRuns", ROOT), {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf }) });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const why = Array.isArray(told.detail) ? told.detail.map(one => one.msg).join("; ") : told.detail;
    by("refused").textContent = answer.status === 403 ? "You may not start outlook_reprocess." :
      String(why || answer.statusText);
    return;
  }
  by("form").close(); by("f_reason").value = "";
  say("Started. Read the preview there and approve it: ", false,
    link(`dags/outlook_reprocess/runs/${encodeURIComponent(told.dag_run_id)}`, told.dag_run_id));
  refresh();
}
function move(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const step = steps[event.key], here = event.target.closest(".map button");
  if (!here) return;
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    here.dispatchEvent(new MouseEvent("click", { shiftKey: true }));
  }
  if (!step) return;
  event.preventDefault();
  const lines = [...document.querySelectorAll(".map tbody tr")], line = here.closest("tr");
  const column = [...line.children].indexOf(here.closest("td"));
  for (let row = lines.indexOf(line) + step[0], at = column + step[1];
    row >= 0 && row < lines.length && at > 0 && at <= 24; row += step[0], at += step[1]) {
    const there = lines[row].children[at].querySelector("button");
    if (there) { here.tabIndex = -1; there.tabIndex = 0; there.focus(); return; }
  }
}
function theme() {
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (window.parent !== window) {
    const around = window.parent.document.documentElement.classList;
    dark = around.contains("dark") || (!around.contains("light") && dark);
  }
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
function turn(to) { until = to; refresh(); }
by("legend").append(...Object.entries(KINDS).map(([kind, [sign, said]]) =>
  make("li", {}, make("span", { class: kind, "aria-hidden": "true" }, sign), said)));
by("length").value = String(length);
by("length").onchange = () => { length = Number(by("length").value); refresh(); };
const edge = () => until || Math.floor(Date.parse(data.graph_now) / HOUR) * HOUR + HOUR;
by("earlier").onclick = () => turn(edge() - length * HOUR);
by("later").onclick = () => turn(edge() + length * HOUR);
by("now").onclick = () => turn(null);
by("ask").onclick = () => { const now = Math.floor(Date.parse(data.graph_now) / HOUR) * HOUR;
  openForm(anchor?.domain || "", anchor?.first || hourOf(now - 24 * HOUR),
    anchor ? hourOf(start(anchor.last) + HOUR) : hourOf(now)); };
by("f_whom").onchange = () => { by("listed").hidden = by("f_whom").value !== "list"; };
by("cancel").onclick = () => by("form").close();
by("form").querySelector("form").onsubmit = send;
by("maps").addEventListener("keydown", move);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
if (window.parent !== window) new MutationObserver(theme).observe(
  window.parent.document.documentElement, { attributes: true, attributeFilter: ["class"] });
theme(); refresh();
setInterval(() => { if (!document.hidden && !by("form").open) refresh(); }, 30e3);

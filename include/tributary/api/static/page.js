// The page: asks for figures, draws them, presses buttons. Text is set as text, never as HTML.
"use strict";

const STATES = ["sent", "pending", "queued", "failed", "dead", "skipped"];
const EVERY = 60_000; // milliseconds between two looks at the figures
const $ = (id) => document.getElementById(id);
const shown = new Set(STATES.filter((state) => state !== "skipped"));
let figures = null;
let days = null;
let quality = new Map(); // Meta's own match quality by destination; it comes later than the figures
let problems = []; // what keeps Airflow from its work; they come later, too
let asking = 0; // number of the latest question; older answers are dropped

// ---- small helpers ---------------------------------------------------------------------------

/** An element with attributes and children; a function among the attributes is a listener. */
function h(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "text", "title"].includes(name);
  const made = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

const number = (value) => Number(value).toLocaleString("en");
const percent = (share) => `${Math.round(100 * share)} %`;
const utc = (time) => new Date(time).toISOString().slice(0, 16).replace("T", " ") + " UTC";

function duration(seconds) {
  const sign = seconds < 0 ? "−" : "";
  const s = Math.abs(seconds);
  if (s < 90) return `${sign}${Math.round(s)} s`;
  if (s < 5400) return `${sign}${Math.round(s / 60)} min`;
  if (s < 129_600) return `${sign}${(s / 3600).toFixed(1)} h`;
  return `${sign}${(s / 86_400).toFixed(1)} days`;
}

function when(time, now) {
  if (!time) return "never";
  const seconds = (new Date(now) - new Date(time)) / 1000;
  const text = seconds >= 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
  return h("time", { datetime: time, title: utc(time) }, text);
}

/** A table whose cells know their column's name, for narrow screens. */
function table(label, columns, rows, otherwise) {
  if (!rows.length) return h("p", { class: "empty" }, otherwise);
  const head = columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name));
  const body = rows.map((cells) =>
    h("tr", {}, cells.map((cell, i) =>
      h("td", { class: columns[i][1], "data-label": columns[i][0] }, h("div", {}, cell)))));
  return h("div", { class: "frame" }, h("table", { "aria-label": label },
    h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

const figure = (value, kind) =>
  h("span", { class: Number(value) ? kind : "zero" }, number(value));
const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

function say(...parts) {
  $("said").replaceChildren(...parts);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => $("said").replaceChildren(), 12_000);
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text || "";
}

/** A link to a page of Airflow's. Framed in it, only Airflow's own document may go there. */
function link(path, attributes, ...children) {
  const url = new URL(`../../${path}`, location.href).href;
  const follow = (event) => {
    if (parent === window || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const anchor = parent.document.createElement("a");
    anchor.href = url;
    parent.document.body.append(anchor);
    anchor.click();
    anchor.remove();
  };
  return h("a", { href: url, click: follow, ...attributes }, ...children);
}

// ---- asking and acting -----------------------------------------------------------------------

/** An answer of the REST API. */
async function call(path, method = "GET", body = undefined) {
  const options = body === undefined ? {} : {
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(`../api/${path}`, { method, credentials: "same-origin", ...options });
  } catch {
    throw new Error("Airflow does not answer. The figures below may be old.");
  }
  // Without the plugin Airflow answers every path with its own page, and says that all is well.
  const isData = /^application\/(problem\+)?json/.test(answer.headers.get("content-type") || "");
  const said = isData ? await answer.json().catch(() => ({})) : {};
  if (answer.ok && isData) return said;
  if (answer.ok) {
    throw new Error("Airflow answers without Tributary's plugin: `airflow plugins` and the API " +
      "server's log say why it is not loaded. The figures below may be old.");
  }
  if (answer.status === 401) throw new Error("You are not logged in any more: reload the page.");
  if (answer.status === 403) throw new Error("Your role may not do this.");
  throw new Error(typeof said.detail === "string" ? said.detail : `It failed (HTTP ${answer.status}).`);
}

const isLoads = () => location.hash === "#loads";

async function refresh() {
  const mine = ++asking;
  document.body.setAttribute("aria-busy", "true");
  try {
    const found = await call(isLoads() ? `loads?days=${$("days").value}` : "overview");
    if (mine !== asking) return;
    if (isLoads()) days = found;
    else figures = found;
    if (!isLoads()) askQuality();
    askProblems();
    trouble("");
    $("as-of").textContent = `as of ${new Date().toISOString().slice(11, 19)} UTC`;
    draw();
  } catch (error) {
    if (mine === asking) trouble(error.message);
  } finally {
    if (mine === asking) document.body.removeAttribute("aria-busy");
  }
}

/** Meta's own scores. They may take seconds, so the figures do not wait for them. */
async function askQuality() {
  try {
    const found = (await call("match-quality")).quality;
    quality = new Map(found.map((row) => [row.destination, row]));
  } catch {
    quality = new Map();
  }
  if (figures && !isLoads()) drawLag();
}

/** What keeps Airflow from its work. A secrets backend may be slow, so figures do not wait. */
async function askProblems() {
  try {
    problems = (await call("problems")).problems;
  } catch {
    return; // the last answer is shown until there is another
  }
  $("problems").hidden = !problems.length;
  $("problems").replaceChildren(...problems.map((one) => h("li", {}, one.says)));
  draw();
}

const isMissing = (connection) => problems.some((one) => one.conn_id === connection);

/** Change something, and say what the answer means: `words` makes texts and elements of it. */
async function act(method, path, body, words) {
  try {
    say(...[words(await call(path, method, body))].flat());
  } catch (error) {
    say(error.message);
  }
  await refresh();
}

/** Ask a person; the frame has no dialogs of the browser's own. Null when they do not want it. */
function ask(title, text, yes, withReason = false, settings = null) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask-why").hidden = !withReason;
  $("ask-settings").hidden = settings === null;
  const reason = dialog.querySelector("input"), area = dialog.querySelector("textarea");
  reason.value = "";
  area.value = settings ?? "";
  dialog.returnValue = "no";
  dialog.showModal();
  (withReason ? reason : settings === null ? $("ask-yes") : area).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () =>
      resolve(dialog.returnValue === "yes"
        ? settings === null ? { reason: reason.value } : { settings: area.value }
        : null), { once: true });
  });
}
// Enter in the field is a yes, not the first button's no.
$("ask").querySelector("input").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  $("ask").close("yes");
});

const pathOf = (name) => `destinations/${encodeURIComponent(name)}`;

const sync = (name) => act(
  "POST", `conversions/sync?destination=${encodeURIComponent(name)}&while_paused=true`, undefined,
  (run) => [
    `A run for ${name} is started.`,
    run.dag_is_paused ? ` It waits until ${run.dag_id} is switched on. ` : " ",
    link(`dags/${run.dag_id}/runs/${encodeURIComponent(run.dag_run_id)}`, {}, "Open the run"),
  ]);

async function pause(name) {
  const answer = await ask(`Pause ${name}?`,
    "Waiting and new events stay in the outbox. A request under way is finished.", "Pause", true);
  if (!answer) return;
  await act("PATCH", pathOf(name), { paused: true, reason: answer.reason },
    () => `${name} is paused until a person resumes it. Its events wait.`);
}

const resume = (name) => act("PATCH", pathOf(name), { paused: false },
  () => `${name} is resumed; the next upload sends what waits.`);

async function retry(name, count, outcome) {
  const unknown = outcome === "outcome_unknown";
  const answer = await ask(`Retry ${number(count)} of ${name}?`, unknown
    ? "It is not known whether the platform has them already. If it has, they count twice."
    : "They go back into the outbox; the next upload sends them.",
  unknown ? "Retry all the same" : "Retry");
  if (!answer) return;
  await act("POST", `${pathOf(name)}/retry`, outcome ? { outcome } : {}, ({ put_back }) => put_back
    ? `${name}: ${number(put_back)} put back; the next upload sends them.`
    : `${name}: no dead delivery fits, or its deadline at the platform has passed.`);
}

/** Only for brands that are `managed_by: api`; what is wrong is said beside what was written. */
async function edit(one) {
  let text = JSON.stringify(one.settings, null, 2);
  let words = "The next upload uses them. Keys that you leave out do not change.";
  for (;;) {
    const answer = await ask(`Settings of ${one.name}`, words, "Save", false, text);
    if (!answer) return;
    text = answer.settings;
    try {
      const settings = JSON.parse(text);
      await call(pathOf(one.name), "PATCH", { settings });
      say(`The settings of ${one.name} are changed; the next upload uses them.`);
      break;
    } catch (error) {
      words = error instanceof SyntaxError ? `This is no JSON: ${error.message}` : error.message;
    }
  }
  await refresh();
}

// ---- conversions -----------------------------------------------------------------------------

function drawConversions() {
  const { now, may_act, may_sync } = figures;
  const brand = $("brand").value;
  const targets = figures.destinations.filter((one) => !brand || one.brand === brand);
  const names = new Set(targets.map((one) => one.name));
  const mine = (rows) => rows.filter((row) => names.has(row.destination));
  const hours = mine(figures.per_hour);
  const sum = (rows, key) => rows.reduce((total, row) => total + Number(row[key]), 0);

  $("only-see").hidden = may_act;
  const tile = (name, value, kind) =>
    h("div", { class: value ? kind : "" }, h("dt", {}, name), h("dd", {}, number(value)));
  $("totals").replaceChildren(
    tile(`Sent in ${figures.hours} hours`,
      sum(hours.filter((row) => row.sync_status === "sent"), "deliveries"), ""),
    tile("Waiting", sum(targets, "pending") + sum(targets, "queued"), ""),
    tile("Failed, tried again", sum(targets, "failed"), "warn"),
    tile("Dead", sum(targets, "dead"), "bad"),
    tile("Expiring in 24 hours", sum(mine(figures.expiring), "within_24_hours"), "warn"),
  );
  $("destinations").replaceChildren(table("Destinations", [
    ["Destination", "key"], ["State", "words"], ["Last sync", ""], ["Pending", "number"],
    ["Sent", "number"], ["Failed", "number"], ["Dead", "number"], ["Skipped", "number"],
    ["Actions", ""],
  ], targets.map((one) => [
    [h("strong", {}, one.name), h("small", {}, `${one.brand_name} · ${one.platform}`)],
    state(one, now),
    lastSync(one, now),
    [figure(one.pending, ""), one.queued ? h("small", {}, `+ ${number(one.queued)} under way`) : null],
    figure(one.sent, ""), figure(one.failed, "wait"), figure(one.dead, "bad"),
    figure(one.skipped, ""),
    buttons(one, may_act, may_sync),
  ]), "No destination is configured yet: add one to the settings file and apply it."));
  drawChart(hours, now);
  drawErrors(mine(figures.errors), mine(figures.not_sent), may_act);
  $("expiring").replaceChildren(table("Expiring soon", [
    ["Destination", "key"], ["First deadline", ""], ["in 6 hours", "number"],
    ["in 24 hours", "number"], ["in 3 days", "number"],
  ], mine(figures.expiring).map((row) => [
    h("strong", {}, row.destination), when(row.first_deadline, now),
    figure(row.within_6_hours, "bad"), figure(row.within_24_hours, "wait"),
    figure(row.within_72_hours, ""),
  ]), "Nothing that waits expires within three days."));
  drawLag();
}

function state(one, now) {
  if (!one.is_active) return badge("off", "switched off");
  if (one.is_paused) return paused(one, now);
  if (isMissing(one.conn_id)) return [badge("bad", "no connection"), h("small", {}, one.conn_id)];
  if (fails(one)) return badge("bad", "failing");
  return badge("good", "active");
}

/** Without the name of the exception, which is for logs. */
const sentence = (status) => status.replace(/^failed: \w+: /, "failed: ");

const fails = (one) => /^(failed|held)/.test(one.last_sync_status ?? "");

function paused(one, now) {
  const until = one.paused_until ? ["until ", when(one.paused_until, now)] : ["until it is resumed"];
  return [badge("wait", "paused"), " ", ...until, h("small", {}, one.paused_reason)];
}

function lastSync(one, now) {
  if (!one.last_sync_at) return h("span", { class: "zero" }, "never");
  return [when(one.last_sync_at, now), one.last_sync_status === "ok"
    ? h("small", {}, `${number(one.last_sync_count)} sent, ok`)
    : h("small", fails(one) ? { class: "bad" } : {}, one.last_sync_status)];
}

function buttons(one, mayAct, maySync) {
  const button = (text, label, off, press, may = mayAct) =>
    h("button", { type: "button", "aria-label": `${label} ${one.name}`, disabled: !may || off, click: press }, text);
  return h("div", { class: "actions" },
    button("Sync now", "Sync now:", !one.is_active || one.is_paused,
      () => sync(one.name), maySync),
    one.is_paused
      ? button("Resume", "Resume", false, () => resume(one.name))
      : button("Pause", "Pause", !one.is_active, () => pause(one.name)),
    button("Retry dead", "Retry dead deliveries of", !one.retryable || !one.is_active,
      () => retry(one.name, one.retryable)),
    one.settings ? button("Settings", "Settings of", false, () => edit(one)) : null);
}

function drawErrors(errors, notSent, may) {
  const row = (one, withButton) => [
    h("code", {}, one.outcome ?? "—"),
    h("strong", {}, one.destination),
    [badge(one.sync_status === "dead" ? "bad" : one.sync_status === "failed" ? "wait" : "off", one.sync_status)],
    number(one.deliveries),
    h("code", {}, one.sample_event_id),
    [one.means, one.sample_error ? h("small", {}, one.sample_error) : null],
    [one.to_do, withButton && one.sync_status === "dead" ? h("div", { class: "actions" },
      h("button", {
        type: "button", disabled: !may || !one.retryable,
        title: one.retryable ? null : "The platform's deadline has passed.",
        "aria-label": `Retry ${one.outcome} of ${one.destination}`,
        click: () => retry(one.destination, one.retryable, one.outcome),
      }, one.retryable ? `Retry ${number(one.retryable)}` : "Too late to retry")) : null],
  ];
  const columns = [
    ["Code", "key"], ["Destination", "key"], ["State", ""], ["Deliveries", "number"],
    ["Sample event", ""], ["Means", "words"], ["What to do", "words"],
  ];
  $("errors").replaceChildren(table("Errors by code", columns, errors.map((one) => row(one, true)),
    "No delivery is dead or failed."));
  const total = notSent.reduce((sum, one) => sum + one.deliveries, 0);
  $("not-sent-title").textContent = `Skipped: ${number(total)}`;
  $("not-sent").replaceChildren(table("Skipped", columns, notSent.map((one) => row(one, false)),
    "No delivery was skipped."));
}

function drawLag() {
  const brand = $("brand").value;
  const targets = figures.destinations.filter((one) => !brand || one.brand === brand);
  $("lag-note").textContent =
    `Lag: time from the event to its acceptance, over ${figures.lag_days} days. Match keys: the share of ` +
    `events that carry each key, of those sent or waiting over ${figures.coverage_days} days. Estimated ` +
    "quality is Tributary's own: e-mail counts 4, phone 3, click id 2, external id 1 of 10. Meta's own " +
    "covers events of a website, where the connection may read it.";
  const by = (rows) => new Map(rows.map((row) => [row.destination, row]));
  const lag = by(figures.lag), keys = by(figures.coverage);
  const none = h("span", { class: "zero" }, "—");
  const or = (row, show) => (row ? show(row) : none.cloneNode(true));
  $("lag").replaceChildren(table("Lag and match keys", [
    ["Destination", "key"], ["Accepted", "number"], ["Lag p50", "number"], ["Lag p95", "number"],
    ["Events", "number"], ["E-mail", "number"], ["Phone", "number"], ["Click id", "number"],
    ["Estimated quality", "number"], ["Meta's own", "words"],
  ], targets.map(({ name }) => [
    h("strong", {}, name),
    or(lag.get(name), (row) => number(row.deliveries)),
    or(lag.get(name), (row) => duration(row.p50_seconds)),
    or(lag.get(name), (row) => duration(row.p95_seconds)),
    or(keys.get(name), (row) => number(row.events)),
    or(keys.get(name), (row) => percent(row.email)),
    or(keys.get(name), (row) => percent(row.phone)),
    or(keys.get(name), (row) => percent(row.click_id)),
    or(keys.get(name), (row) => `≈ ${row.estimate.toFixed(1)} of 10`),
    or(quality.get(name), (row) => row.why_not ? h("small", {}, row.why_not)
      : Object.entries(row.scores).sort().map(([event, score]) =>
        h("div", {}, `${event} ${score.toFixed(1)} of 10`))),
  ]), "No destination is configured yet."));
}

// ---- the chart -------------------------------------------------------------------------------

function drawChart(rows, now) {
  const HOUR = 3_600_000;
  const last = Math.floor(new Date(now) / HOUR) * HOUR;
  const slots = Array.from({ length: figures.hours }, (_, i) =>
    ({ at: last - (figures.hours - 1 - i) * HOUR, counts: {} }));
  for (const row of rows) {
    const slot = slots[figures.hours - 1 - (last - new Date(row.hour)) / HOUR];
    if (slot) slot.counts[row.sync_status] = (slot.counts[row.sync_status] || 0) + row.deliveries;
  }
  const total = (state) => slots.reduce((sum, slot) => sum + (slot.counts[state] || 0), 0);
  const focused = document.activeElement?.dataset?.state;
  $("legend").replaceChildren(...STATES.map((state) => h("button", {
    type: "button", class: state, "data-state": state, "aria-pressed": String(shown.has(state)),
    click: () => {
      if (!shown.delete(state)) shown.add(state);
      drawChart(rows, now);
    },
  }, h("i", {}), `${state} ${number(total(state))}`)));
  if (focused) $("legend").querySelector(`[data-state=${focused}]`)?.focus();

  const states = STATES.filter((state) => shown.has(state));
  const height = (slot) => states.reduce((sum, state) => sum + (slot.counts[state] || 0), 0);
  const most = Math.max(0, ...slots.map(height));
  $("chart-table").replaceChildren(table("Deliveries per hour", [
    ["Hour (UTC)", ""], ...STATES.map((state) => [state, "number"]),
  ], slots.filter((slot) => Object.keys(slot.counts).length).reverse().map((slot) => [
    utc(slot.at).slice(0, 16), ...STATES.map((state) => figure(slot.counts[state] || 0, "")),
  ]), `No delivery changed within ${figures.hours} hours.`));
  if (!most) {
    $("chart").replaceChildren(h("p", { class: "empty" },
      `No delivery came into one of these states within ${figures.hours} hours.`));
    return;
  }
  const width = Math.max(280, $("chart").clientWidth - 20), tall = 200, left = 46, foot = 22, top = 8;
  const step = niceStep(most / 4), ceiling = Math.ceil(most / step) * step;
  const y = (value) => top + (tall - top - foot) * (1 - value / ceiling);
  const slotWidth = (width - left) / slots.length;
  const drawn = [];
  for (let tick = 0; tick <= ceiling; tick += step) {
    drawn.push(h("line", { x1: left, x2: width, y1: y(tick), y2: y(tick) }),
      h("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  const every = width < 600 ? 12 : 6;
  slots.forEach((slot, i) => {
    const x = left + i * slotWidth;
    let base = 0;
    for (const state of states) {
      const count = slot.counts[state] || 0;
      if (!count) continue;
      const tallness = Math.max(1, y(base) - y(base + count));
      drawn.push(h("rect", {
        class: `bar ${state}`, x: x + slotWidth * 0.12, width: slotWidth * 0.76,
        y: y(base) - tallness, height: tallness,
      }));
      base += count;
    }
    const hour = new Date(slot.at);
    if (hour.getUTCHours() % every === 0) {
      const text = hour.getUTCHours() ? `${String(hour.getUTCHours()).padStart(2, "0")}:00`
        : hour.toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });
      const atEdge = x + slotWidth / 2 > width - 20;
      drawn.push(h("text", {
        x: atEdge ? width : x + slotWidth / 2, y: tall - 6, "text-anchor": atEdge ? "end" : "middle",
      }, text));
    }
    const words = states.filter((state) => slot.counts[state])
      .map((state) => `${state} ${number(slot.counts[state])}`).join(", ") || "none";
    drawn.push(h("rect", { class: "hit", x, width: slotWidth, y: top, height: tall - top - foot },
      h("title", {}, `${utc(slot.at)}: ${words}`)));
  });
  const words = `Deliveries per hour over ${figures.hours} hours: ` +
    states.map((state) => `${state} ${number(total(state))}`).join(", ") +
    `; at most ${number(most)} in an hour. The table below has every hour.`;
  $("chart").replaceChildren(h("svg", {
    viewBox: `0 0 ${width} ${tall}`, height: tall, role: "img", "aria-label": words,
  }, drawn));
}

/** 1, 2 or 5 times a power of ten: the least that is not below `value`. */
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= value);
}

// ---- loads -----------------------------------------------------------------------------------

function drawLoads() {
  const brand = $("brand").value;
  const shown = days.accounts.filter((one) => !brand || one.brand === brand);
  const key = (row) => `${row.platform} ${row.account_id}`;
  const loaded = new Map(shown.map((one) => [key(one), []]));
  for (const row of days.loads) if (row.day) loaded.get(key(row))?.push(row);
  $("loads-only-see").hidden = days.may_act;
  $("under-way").hidden = !days.under_way.length;
  $("under-way").replaceChildren("Runs under way, which may still load missing days: ",
    ...days.under_way.flatMap((one, i) =>
      [i ? ", " : "", link(one.run, {}, one.dag), ` (${one.state})`]));
  $("accounts").replaceChildren(...shown.map((one) => account(one, loaded.get(key(one)))));
  if (!shown.length) {
    $("accounts").replaceChildren(h("p", { class: "empty" },
      "No ad account is configured yet: add one to the settings file and apply it."));
  }
}

function account(one, loaded) {
  const isMeta = one.platform === "meta";
  const title = h("h3", {}, `${one.name} `, accountBadge(one));
  const where = `${one.brand_name} · ${isMeta ? "" : `${one.platform} · `}${one.account_id}`;
  const words = [title, h("p", { class: "quiet" }, where), ...latest(one)];
  if (!isMeta) return h("div", { class: "account" }, ...words);
  if (!loaded.length) {
    return h("div", { class: "account" }, ...words,
      h("p", { class: "empty" }, "Nothing is loaded yet: switch extract_meta_ads on, or trigger it."));
  }
  const count = (status) => loaded.filter((row) => row.status === status).length;
  const said = ["reconciled", "unreconciled", "missing", "open"]
    .filter((status) => status === "reconciled" || count(status))
    .map((status) => `${number(count(status))} ${status}`).join(", ");
  words[1].append(` · ${said}`);
  const months = Map.groupBy
    ? Map.groupBy(loaded, (row) => row.day.slice(0, 7))
    : loaded.reduce((all, row) => {
      const month = row.day.slice(0, 7);
      return all.set(month, [...(all.get(month) || []), row]);
    }, new Map());
  const blocks = [...months].map(([month, rows]) => h("div", { class: "month" },
    h("h4", {}, new Date(`${month}-01T00:00:00Z`)
      .toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" })),
    h("div", {}, Array.from({ length: weekday(rows[0].day) }, () => h("span", {})), rows.map(day))));
  const grid = h("div", { class: "months", role: "group", "aria-label": `Days of ${one.name}`, keydown: move }, blocks);
  const cells = grid.querySelectorAll(".day");
  cells[cells.length - 1].setAttribute("tabindex", "0");
  return h("div", { class: "account" }, ...words, grid);
}

function accountBadge(one) {
  if (!one.is_active) return badge("off", "switched off");
  if (one.is_paused) return badge("wait", "paused");
  if (isMissing(one.conn_id)) return badge("bad", "no connection");
  return fails(one) ? badge("bad", "failing") : null;
}

/** What a person must know beside the days: a pause and its end, a load that failed. */
function latest(one) {
  const said = [];
  if (one.is_paused) {
    const until = one.paused_until ? ["until ", when(one.paused_until, days.now)] : ["until it is resumed"];
    said.push(h("p", { class: "latest" }, "Paused ", ...until, ": ", one.paused_reason, " ",
      h("button", {
        type: "button", disabled: !days.may_act, "aria-label": `Resume ${one.name}`,
        click: () => act(
          "POST", `accounts/${one.platform}/${encodeURIComponent(one.account_id)}/resume`, {},
          ({ was_paused }) => was_paused
            ? `${one.account_id} is resumed; the next run loads it.`
            : `${one.account_id} was not paused.`),
      }, "Resume")));
  }
  if (one.is_active && !one.is_paused && fails(one)) {
    said.push(h("p", { class: "latest bad" }, "The last load, ", when(one.last_sync_at, days.now),
      ", ", sentence(one.last_sync_status)));
  }
  return said;
}

/** Monday 0 to Sunday 6. */
const weekday = (date) => (new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7;

function day(row) {
  const money = (value) => `${Number(value).toLocaleString("en", { maximumFractionDigits: 2 })} ${row.currency ?? ""}`.trim();
  const words = [`${row.day}: ${row.status}`];
  if (row.rows != null) words.push(`${number(row.rows)} rows, spend ${money(row.spend)}`);
  if (row.status === "unreconciled") words.push(`the account says ${money(row.account_spend)}`);
  if (row.rows != null && !row.run) words.push("Airflow has forgotten the run");
  const text = words.join("; ");
  const attributes = { class: `day ${row.status}`, tabindex: "-1", title: text, "aria-label": text };
  const number_ = String(Number(row.day.slice(8)));
  return row.run ? link(row.run, attributes, number_) : h("span", { role: "img", ...attributes }, number_);
}

/** One tab stop per account; arrows, Home and End move within it. */
function move(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7, Home: -1e6, End: 1e6 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const cells = [...event.currentTarget.querySelectorAll(".day")];
  const here = cells.indexOf(document.activeElement);
  const next = cells[Math.min(cells.length - 1, Math.max(0, here + steps[event.key]))];
  cells.forEach((cell) => cell.setAttribute("tabindex", cell === next ? "0" : "-1"));
  next.focus();
}

// ---- the page --------------------------------------------------------------------------------

function draw() {
  const loads = isLoads();
  $("view-conversions").hidden = loads; // ids other than the hashes: nothing is scrolled to
  $("view-loads").hidden = !loads;
  for (const anchor of document.querySelectorAll("nav a")) {
    if ((anchor.hash === "#loads") === loads) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const rows = loads ? days?.accounts : figures?.destinations;
  if (!rows) return;
  fillBrands(rows);
  // A redrawn button keeps the focus that it had.
  const focus = document.activeElement?.getAttribute("aria-label");
  if (loads) drawLoads();
  else drawConversions();
  if (focus && document.activeElement === document.body) {
    document.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
  }
}

function fillBrands(rows) {
  const brands = new Map(rows.map((row) => [row.brand, row.brand_name]));
  const select = $("brand");
  const known = [...select.options].slice(1).map((option) => option.value);
  for (const [slug, name] of brands) {
    if (!known.includes(slug)) select.append(h("option", { value: slug }, name));
  }
}

$("refresh").addEventListener("click", refresh);
$("brand").addEventListener("change", draw);
$("days").addEventListener("change", refresh);
addEventListener("hashchange", () => { draw(); refresh(); });
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width || isLoads() || !figures) return;
  width = innerWidth;
  draw();
});
setInterval(() => {
  if (!document.hidden && !$("ask").open) refresh();
}, EVERY);
draw();
refresh();

/**
 * The page "FirstPromoter": loads the runs that the reader may see, and draws them.
 */

import {
  AirflowError,
  addressQuery,
  followLinksOutside,
  forEachAtOnce,
  homeUrl,
  listSummaries,
  logUrl,
  readDagName,
  readOperator,
  readSummary,
  runUrl,
} from "./airflow.js";
import { needsAttention } from "./attention.js";
import { el } from "./dom.js";
import { counted, exactTime, timeZone } from "./format.js";
import { runDetails, runList } from "./runs.js";
import { CALLS, instanceKey, isElsewhere, parseRun } from "./summary.js";
import * as views from "./views.js";

/** Runs whose summaries are read at first, and with every "Read older runs": each is a request. */
const RUNS_AT_ONCE = 200;
/** The operator that reads a query, and so knows all events that are open. */
const QUERY_OPERATOR = "SqlToFirstPromoterOperator";
/** All operators that write a summary. */
const OPERATOR = /^(SqlToFirstPromoter|(Track|Reconcile|Revert)\w+)Operator$/;
/** Milliseconds between two drawings while runs are still being read. */
const REDRAW = 400;

const $ = (id) => document.getElementById(id);
const query = addressQuery();
const state = {
  call: CALLS.has(query.get("call")) ? query.get("call") : "",
  account: query.get("account") ?? "",
  dag: query.get("dag") ?? "",
  period: query.has("period") ? query.get("period") : "7",
  selected: selectedInstance(),
  limit: RUNS_AT_ONCE,
  entries: [],
  complete: true,
  /** What was read so far, by instance and time: a run, or null for an XCom that is not ours. */
  read: new Map(),
  /** The class of each task's operator. */
  operators: new Map(),
  unreadable: 0,
  /** The tasks of runs whose summary Airflow keeps outside its database, by instance. */
  elsewhere: new Map(),
};
let loading = new AbortController();

/** The task instance that the address names, as the operators' link "FirstPromoter" does. */
function selectedInstance() {
  if (!query.get("run_id")) return null;
  const mapIndex = Number.parseInt(query.get("map_index") ?? "", 10);
  return {
    dagId: query.get("dag_id") ?? "",
    runId: query.get("run_id"),
    taskId: query.get("task_id") ?? "",
    mapIndex: Number.isInteger(mapIndex) ? mapIndex : -1,
  };
}

const fromEntry = (entry) => ({
  dagId: entry.dag_id,
  runId: entry.run_id,
  taskId: entry.task_id,
  mapIndex: entry.map_index ?? -1,
});
const readKey = (entry) => `${instanceKey(fromEntry(entry))} ${entry.timestamp}`;
const since = () => (state.period ? new Date(Date.now() - Number(state.period) * 86_400_000) : null);

async function load() {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  busy("Reading the runs from Airflow …");
  try {
    const listed = await listSummaries(since(), signal);
    Object.assign(state, listed, { unreadable: 0 });
    await readValues(signal);
    await readOperators(signal);
    if (signal.aborted) return;
    draw();
    done();
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

/** Reads the values of the listed XComs, newest first, and draws now and then meanwhile. */
async function readValues(signal) {
  const strangers = new Set();
  let drawn = Date.now();
  const wanted = state.entries.filter((entry) => !state.dag || entry.dag_id === state.dag).slice(0, state.limit);
  const unread = wanted.filter((entry) => !state.read.has(readKey(entry)));
  let left = unread.length;
  await forEachAtOnce(unread, async (entry) => {
    const task = JSON.stringify([entry.dag_id, entry.task_id]);
    // Another task's XCom that happens to have the same key: its older ones are not ours either.
    if (!strangers.has(task)) {
      try {
        const found = await readSummary(fromEntry(entry), signal);
        const run = found && parseRun({ ...entry, ...found });
        state.read.set(readKey(entry), run);
        if (found && isElsewhere(found)) state.elsewhere.set(readKey(entry), fromEntry(entry));
        else if (!run) strangers.add(task);
      } catch (error) {
        // One run that cannot be read must not hide the others; a session that ended hides all.
        if (!(error instanceof AirflowError) || error.status === 401 || error.status === 0) throw error;
        state.unreadable += 1;
      }
    }
    left -= 1;
    if (Date.now() - drawn > REDRAW && !signal.aborted) {
      drawn = Date.now();
      draw();
      busy(`Reading the runs from Airflow … ${counted(left, "run")} left`);
    }
  });
}

/** Asks once for the operator of every task whose runs are shown. */
async function readOperators(signal) {
  const tasks = new Map([...runs(), ...state.elsewhere.values()].map((run) => [operatorKey(run), run]));
  const unknown = [...tasks].filter(([key]) => !state.operators.has(key));
  await forEachAtOnce(unknown, async ([key, run]) => {
    state.operators.set(key, await readOperator(run.dagId, run.taskId, signal));
  });
}

const operatorKey = (run) => JSON.stringify([run.dagId, run.taskId]);
/** A run that read only what is new of its query names no other event either. */
const namesAllOpen = (run) =>
  state.operators.get(operatorKey(run)) === QUERY_OPERATOR && (!run.read || run.read === "all");

/** How many summaries of this provider's tasks Airflow keeps where this page cannot read them. */
const elsewhere = () =>
  [...state.elsewhere.values()].filter((one) => OPERATOR.test(state.operators.get(operatorKey(one)) ?? "")).length;

/** The runs that were read, and those that only other runs tell of: each once, as the last one tells it. */
function allRuns() {
  const told = state.entries.map((entry) => state.read.get(readKey(entry))).filter(Boolean);
  const hasSummary = new Set(state.entries.map((entry) => instanceKey(fromEntry(entry))));
  const untold = new Map();
  for (const run of told.toReversed().flatMap((one) => one.untold)) {
    const key = instanceKey(run);
    if (!hasSummary.has(key)) untold.set(JSON.stringify([key, run.account, run.call]), run);
  }
  return [...told, ...untold.values()];
}

/** The runs that pass the filters, newest first. A command belongs to no DAG. */
function runs() {
  const from = since();
  return allRuns()
    .filter((run) => !from || run.endedAt >= from)
    .filter((run) => !state.call || run.call === state.call)
    .filter((run) => (!state.account || run.account === state.account) && (!state.dag || run.dagId === state.dag))
    .sort((a, b) => b.endedAt - a.endedAt);
}

function draw() {
  const all = allRuns();
  options(
    $("account"),
    "All accounts",
    new Map(all.map((run) => [run.account, run.account || "unknown account"])),
    state.account,
  );
  options($("dag"), "All DAGs", new Map(all.map((run) => [run.dagId, run.dagName])), state.dag);
  const shown = runs();
  const several = {
    accounts: new Set(shown.map((run) => run.account)).size > 1,
    calls: new Set(shown.map((run) => run.call)).size > 1,
  };
  $("content").hidden = !shown.length;
  $("message").hidden = true;
  if (!shown.length) return;
  const attention = needsAttention(shown, namesAllOpen);
  $("totals").replaceChildren(...views.totals(shown, attention));
  $("outcomes").replaceChildren(...views.outcomes(shown, attention));
  $("money").replaceChildren(...views.moneyOverTime(shown));
  $("attention").replaceChildren(...views.attention(attention, several));
  $("runs").replaceChildren(...runList(shown, several, olderButton()));
}

/** Fills a filter with what there is, and keeps what is chosen. */
function options(select, all, values, chosen) {
  if (chosen && !values.has(chosen)) values.set(chosen, chosen);
  const sorted = [...values].filter(([value]) => value).sort(([, a], [, b]) => a.localeCompare(b));
  select.replaceChildren(
    el("option", { value: "" }, all),
    ...sorted.map(([value, label]) => el("option", { value }, label)),
  );
  select.value = chosen;
}

/** How many listed runs are beyond the limit of what is read at once. */
function unreadBefore() {
  const entries = state.entries.filter((entry) => !state.dag || entry.dag_id === state.dag);
  return Math.max(entries.length - state.limit, 0);
}

function olderButton() {
  const left = unreadBefore();
  if (!left) return null;
  return el(
    "button",
    {
      type: "button",
      onclick: () => {
        state.limit += RUNS_AT_ONCE;
        load();
      },
    },
    `Read older runs (${counted(left, "run")} left)`,
  );
}

function busy(text) {
  $("main").setAttribute("aria-busy", "true");
  $("status").textContent = text;
}

function done() {
  $("main").setAttribute("aria-busy", "false");
  const shown = runs().length;
  const time = exactTime(new Date());
  const older = unreadBefore();
  $("status").textContent = !shown
    ? ""
    : `${counted(shown, "run")} read at ${time}` + (older ? `; ${counted(older, "older run")} not counted yet` : "");
  if (!shown) empty();
  $("notes").textContent = [
    `Times are in ${timeZone}.`,
    "The page shows the runs of all DAGs whose XComs you may read, for as long as Airflow keeps them.",
    elsewhere() && elsewhereInWords(),
    !state.complete && "There are more runs than this page lists; choose a shorter time.",
    state.unreadable && `${counted(state.unreadable, "run")} could not be read.`,
  ]
    .filter(Boolean)
    .join(" ");
}

const elsewhereInWords = () =>
  `${counted(elsewhere(), "run")} cannot be shown: Airflow keeps the XComs outside its database, where this page ` +
  "cannot read them. The run history beside the ledger has every run: airflow firstpromoter report CONN_ID.";

function empty() {
  const filtered = state.call || state.account || state.dag || state.period;
  message(
    "No runs here",
    elsewhere()
      ? elsewhereInWords()
      : filtered
      ? "No run that you may see matches these filters. Choose a longer time, or all calls, accounts and DAGs."
      : "No run of this provider’s operators has written its summary yet, or you may not see the DAGs that did.",
    filtered &&
      el("button", { type: "button", onclick: () => choose({ call: "", account: "", dag: "", period: "" }) }, "Show all runs"),
  );
}

function fail(error) {
  $("main").setAttribute("aria-busy", "false");
  $("status").textContent = "";
  $("content").hidden = true;
  const again = el("button", { type: "button", onclick: load }, "Try again");
  if (error.status === 401) {
    message(
      "You are not logged in",
      "Airflow no longer knows your session.",
      el("a", { class: "button", href: homeUrl }, "Log in"),
      again,
    );
  } else if (error.status === 403) {
    message(
      "You may not read this",
      "Airflow refused to list XComs for you (403). Whoever manages your role can allow you to read XComs.",
      again,
    );
  } else if (error instanceof AirflowError) {
    message("Airflow did not answer", `The runs could not be read: ${error.message}.`, again);
  } else {
    message("Something is wrong with this page", `${error.name}: ${error.message}`, again);
  }
}

function message(title, text, ...buttons) {
  $("message").hidden = false;
  $("message").replaceChildren(
    el("h2", {}, title),
    el("p", {}, text),
    el("div", { class: "buttons" }, buttons.filter(Boolean)),
  );
}

/** Shows the task instance that the address names above all others, whatever the filters are. */
async function showSelected() {
  const place = $("selected");
  if (!state.selected) return;
  place.hidden = false;
  const close = el("button", { type: "button", class: "link", onclick: closeSelected }, "Close");
  const title = (text) =>
    el("div", { class: "heading" }, el("h2", { id: "selected-title", tabindex: "-1" }, text), close);
  const { selected } = state;
  const named = (dagName) => title(`This run: ${dagName} › ${selected.taskId}`);
  const links = el(
    "p",
    {},
    el("a", { href: logUrl(selected) }, "Log"),
    " · ",
    el("a", { href: runUrl(selected) }, `DAG run ${selected.runId}`),
  );
  place.replaceChildren(named(selected.dagId), el("p", { class: "muted" }, "Reading its summary …"));
  try {
    const entry = await readSummary(selected);
    const run = entry && parseRun(entry);
    const why =
      entry && isElsewhere(entry)
        ? "Airflow keeps its summary outside its database, where this page cannot read it. The run history beside the ledger has it: airflow firstpromoter report CONN_ID."
        : "Airflow has no summary of it: it is still running, it was killed, or its XComs were cleared. Its log says more.";
    place.replaceChildren(
      named(run ? run.dagName : await readDagName(selected.dagId)),
      ...(run ? runDetails(run) : [el("p", {}, why), links]),
    );
    $("selected-title").focus();
  } catch (error) {
    place.replaceChildren(
      named(selected.dagId),
      el("p", {}, `Its summary could not be read: ${error.message}.`),
      links,
    );
  }
}

function closeSelected() {
  state.selected = null;
  $("selected").hidden = true;
  $("refresh").focus();
  remember();
}

/** Keeps what is chosen in this page's address, so that a reload finds it. */
function remember() {
  const chosen = new URLSearchParams();
  for (const name of ["call", "account", "dag"]) if (state[name]) chosen.set(name, state[name]);
  if (state.period !== "7") chosen.set("period", state.period);
  if (state.selected) {
    chosen.set("dag_id", state.selected.dagId);
    chosen.set("run_id", state.selected.runId);
    chosen.set("task_id", state.selected.taskId);
    chosen.set("map_index", state.selected.mapIndex);
  }
  history.replaceState(null, "", `${location.pathname}${chosen.size ? `?${chosen}` : ""}`);
}

function choose(chosen) {
  Object.assign(state, chosen, { limit: RUNS_AT_ONCE });
  $("period").value = state.period;
  $("call").value = state.call;
  remember();
  load();
}

$("call").addEventListener("change", (event) => choose({ call: event.target.value }));
$("account").addEventListener("change", (event) => choose({ account: event.target.value }));
$("dag").addEventListener("change", (event) => choose({ dag: event.target.value }));
$("period").addEventListener("change", (event) => choose({ period: event.target.value }));
$("refresh").addEventListener("click", load);
if (![...$("period").options].some((option) => option.value === state.period)) state.period = "7";
$("period").value = state.period;
$("call").value = state.call;
followLinksOutside();
remember();
load();
showSelected();

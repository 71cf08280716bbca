/**
 * Reads Airflow's public REST API in the reader's name, and knows the addresses of Airflow's own pages.
 */

/** Airflow's base path: this file is served two folders below it. */
const BASE = new URL("../../", import.meta.url);
/** XComs that one request lists; Airflow's own default for the most it gives. */
const PAGE = 100;
/** XComs that are listed at most; older ones are left out and the page says so. */
const MOST_LISTED = 5000;
/** Requests at once: as many as browsers open to one host. */
const AT_ONCE = 6;

/** Airflow did not answer as hoped. `status` is HTTP's; 0 where no answer came. */
export class AirflowError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const inPath = (...parts) => parts.map(encodeURIComponent).join("/");

/** The address of a DAG run in Airflow's pages. */
export function runUrl(run) {
  return new URL(`dags/${inPath(run.dagId)}/runs/${inPath(run.runId)}`, BASE).href;
}

/** The address of a task instance's log in Airflow's pages. */
export function logUrl(run) {
  const mapped = run.mapIndex >= 0 ? `/mapped/${run.mapIndex}` : "";
  return `${runUrl(run)}/tasks/${inPath(run.taskId)}${mapped}`;
}

/** The address of Airflow's first page, where a reader without a session logs in. */
export const homeUrl = BASE.href;

/**
 * Airflow 3.1 keeps its token in the browser's storage and reads no cookie; later versions need only the cookie. Set
 * once a request without it was refused.
 */
let token = null;

function storedToken() {
  try {
    return localStorage.getItem("token");
  } catch {
    return null;
  }
}

async function get(path, query, signal) {
  const url = new URL(`api/v2/${path}`, BASE);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const ask = () => {
    const headers = { Accept: "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    return fetch(url, { headers, signal });
  };
  let response;
  try {
    response = await ask();
    if (response.status === 401 && storedToken() && token !== storedToken()) {
      token = storedToken();
      response = await ask();
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AirflowError(0, "no answer");
  }
  if (!response.ok) throw new AirflowError(response.status, `${response.status} ${response.statusText}`.trim());
  try {
    return await response.json();
  } catch {
    throw new AirflowError(response.status, "the answer is not JSON");
  }
}

const ENTRIES = "dags/~/dagRuns/~/taskInstances/~/xcomEntries";
const isNewestFirst = (times) => times.every((time, i) => i === 0 || time <= times[i - 1]);

/**
 * Lists the XComs `summary` that the reader may see, newest first.
 *
 * Airflow 3.3 sorts them, so that the list can end at `since`. Earlier versions only give them in the order of their
 * names: then all of the DAG runs since then are listed and sorted here.
 *
 * @param {Date|null} since older ones are left out; null is all
 * @returns {Promise<{entries: Array, complete: boolean}>} not complete if there are too many to list
 */
export async function listSummaries(since, signal) {
  const time = (entry) => Date.parse(entry.timestamp);
  const query = { xcom_key: "summary", order_by: "-timestamp", limit: PAGE };
  const page = async (offset, more) => {
    const found = await get(ENTRIES, { ...query, ...more, offset }, signal);
    return { entries: found.xcom_entries ?? [], total: found.total_entries ?? 0 };
  };
  const isLast = (found, entries) => !found.entries.length || entries.length >= Math.min(found.total, MOST_LISTED);

  let found = await page(0, {});
  let entries = found.entries;
  const sorted = isNewestFirst(entries.map(time));
  let more = {};
  if (!sorted && since && !isLast(found, entries)) {
    more = { run_after_gte: since.toISOString() };
    found = await page(0, more);
    entries = found.entries;
  }
  while (!isLast(found, entries)) {
    if (sorted && since && time(entries.at(-1)) < since) break;
    found = await page(entries.length, more);
    entries = [...entries, ...found.entries];
  }
  const complete = entries.length >= found.total || (sorted && since && time(entries.at(-1)) < since);
  entries = entries.filter((entry) => !since || time(entry) >= since).sort((a, b) => time(b) - time(a));
  return { entries, complete: Boolean(complete) };
}

/** Reads one XCom `summary`, with its value; null if there is none. */
export async function readSummary({ dagId, runId, taskId, mapIndex }, signal) {
  const path = `dags/${inPath(dagId)}/dagRuns/${inPath(runId)}/taskInstances/${inPath(taskId)}/xcomEntries/summary`;
  try {
    return await get(path, { map_index: mapIndex }, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** The name by which Airflow shows a DAG; its id if Airflow does not say. */
export async function readDagName(dagId, signal) {
  try {
    return (await get(`dags/${inPath(dagId)}`, {}, signal)).dag_display_name ?? dagId;
  } catch {
    return dagId;
  }
}

/** The name of the operator's class; null if Airflow does not say. */
export async function readOperator(dagId, taskId, signal) {
  try {
    return (await get(`dags/${inPath(dagId)}/tasks/${inPath(taskId)}`, {}, signal)).class_ref?.class_name ?? null;
  } catch (error) {
    if (error instanceof AirflowError && error.status !== 401 && error.status !== 0) return null;
    throw error;
  }
}

/** Calls `work` with each item, a few at once, in their order. */
export async function forEachAtOnce(items, work) {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Airflow's window around this page; null where the page was opened by itself. */
function outerWindow() {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
}

/** The query of this page's address; what Airflow's address says counts where its own says nothing. */
export function addressQuery() {
  return new URLSearchParams(location.search || outerWindow()?.location.search || "");
}

/**
 * Lets links lead Airflow's own window to their page: the frame around this page may not do so by itself.
 */
export function followLinksOutside() {
  const outer = outerWindow();
  if (!outer) return;
  const follow = (event) => {
    const link = event.target instanceof Element && event.target.closest("a[href]");
    if (!link || (event.type === "auxclick" && event.button !== 1)) return;
    event.preventDefault();
    const copy = outer.document.createElement("a");
    copy.href = link.href;
    if (event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey) {
      copy.target = "_blank";
      copy.rel = "noopener";
    }
    copy.click();
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
}

/**
 * Reads the value of an XCom `summary`: what a run of one of this provider's operators added up to.
 *
 * Earlier versions of the provider wrote fewer fields, and other people's tasks may use the same key: what is missing
 * counts as nothing, and what is not a summary is left out.
 */

/** The outcomes, in the order in which they are drawn and listed, with the words for them. */
export const OUTCOMES = new Map([
  ["recorded", "recorded"],
  ["already_recorded", "already recorded"],
  ["reverted", "reverted"],
  ["not_referred", "not referred"],
  ["pending", "pending"],
  ["changed", "changed"],
  ["rejected", "rejected"],
  ["failed", "failed"],
]);

/** The calls, with what their commissions are called. */
export const CALLS = new Map([
  ["sales", { one: "sale", commissions: "earned" }],
  ["refunds", { one: "refund", commissions: "reversed" }],
]);
/** What the run history names as the DAG of commands. */
export const COMMANDS = "airflow firstpromoter";

/** The kinds of mismatches that a reconciliation finds, with the words for them. */
export const MISMATCHES = new Map([
  ["missing_in_firstpromoter", "missing in FirstPromoter"],
  ["missing_in_ledger", "missing in the ledger"],
  ["recorded_twice", "recorded twice"],
  ["amount_differs", "amount differs"],
  ["reverted_not_denied", "reverted, not denied"],
  ["no_longer_selected", "no longer selected"],
  ["still_pending", "still pending"],
  ["sale_not_found", "sale not found"],
  ["reward_changed", "reward changed"],
]);

/** The public API's host; another one is named beside the account. */
const PUBLIC_HOST = "api.firstpromoter.com";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const text = (value) =>
  typeof value === "string" ? value : value === null || value === undefined ? "" : String(value);
const list = (value) => (Array.isArray(value) ? value : []);
const date = (value) => {
  const time = typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isNaN(time) ? null : new Date(time);
};

/** The numbers of an object that are not 0, by name, as a Map. */
function counts(value) {
  const pairs = isObject(value) ? Object.entries(value) : [];
  return new Map(pairs.filter(([, count]) => number(count) !== 0));
}

/** The value as JSON: Airflow gives it parsed, or as its text. */
function parsed(value) {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

/** Whether it reads the ledger, or sends events: `reconcile`, `revert` or `events`. */
function kindOf(value) {
  if (!isObject(value)) return null;
  if (value.kind === "revert") return "revert";
  if (value.kind === "reconcile" || (!("outcomes" in value) && isObject(value.cases) && "matched" in value)) {
    return "reconcile";
  }
  const isOurs = (isObject(value.outcomes) && "requests" in value) || (CALLS.has(value.kind) && "error" in value);
  return isOurs ? "events" : null;
}

const callOf = (value) => [value.call, value.kind].find((name) => CALLS.has(name)) ?? "refunds";

/** Whether Airflow has only the place of this value, because its XCom backend keeps it elsewhere. */
export const isElsewhere = (entry) => typeof entry.value === "string" && /^[a-z][a-z0-9+.-]*:\/\//.test(entry.value);

/**
 * @param {Object} entry an XCom as Airflow's API gives it, with its value
 * @returns {Object|null} the run; null if the value is no summary of this provider's
 */
export function parseRun(entry) {
  const value = parsed(entry.value);
  const kind = kindOf(value);
  if (!kind) return null;
  const pushedAt = date(entry.timestamp) ?? new Date(0);
  const endedAt = date(value.ended_at) ?? pushedAt;
  const seconds = number(value.seconds);
  const account = text(value.account);
  const host = text(value.host);
  const run = {
    kind,
    call: callOf(value),
    dagId: text(entry.dag_id),
    dagName: text(entry.dag_display_name) || text(entry.dag_id),
    runId: text(entry.run_id),
    taskId: text(entry.task_id),
    mapIndex: Number.isInteger(entry.map_index) ? entry.map_index : -1,
    endedAt,
    startedAt: date(value.started_at) ?? new Date(endedAt - seconds * 1000),
    seconds,
    account: account && host && host !== PUBLIC_HOST && !account.includes("@") ? `${account}@${host}` : account,
    currency: text(value.currency) || null,
    preview: value.preview === true,
    warnings: list(value.warnings).map(text),
    stoppedBecause: text(value.stopped_because),
    error: text(value.error),
    tries: 1,
    ...{ events, reconcile: reconciliation, revert }[kind](value),
  };
  const rows = list(value.history).filter(isObject);
  const others = rows.filter((row) => instanceKey(place(row)) !== instanceKey(run));
  const own = rows.find((row) => !others.includes(row));
  return { ...run, ...(own && booked(own, run)), untold: others.map((row) => fromHistory(row, run)) };
}

const place = (row) => ({
  dagId: text(row.dag_id),
  runId: text(row.run_id),
  taskId: text(row.task_id),
  mapIndex: Number.isInteger(row.map_index) ? row.map_index : -1,
});

/**
 * What the run history has of a task run, all of its tries together. What the run settled is its own there; the
 * summary of a list also has what was settled before. What is not settled is the summary's.
 */
function booked(row, run) {
  const history = counts(row.outcomes);
  const outcomes = new Map(history);
  for (const name of PROBLEMS) {
    outcomes.delete(name);
    if (run.outcomes.get(name)) outcomes.set(name, run.outcomes.get(name));
  }
  return {
    tries: number(row.tries),
    // It looked at every row all the same: `error` is of a run that did not.
    endedWith: text(row.error),
    startedAt: date(row.started_at) ?? run.startedAt,
    sent: number(row.sent),
    requests: number(row.requests),
    rechecked: number(row.rechecked),
    rewards: counts(row.rewards),
    outcomes,
    news: news(outcomes, run.fresh, number(row.rechecked)),
  };
}

/** A run that no XCom tells of: a command, or a task that was killed; from the summary of a later run. */
function fromHistory(row, teller) {
  const kind = ["reconcile", "revert"].includes(row.kind) ? row.kind : "events";
  const startedAt = date(row.started_at) ?? teller.startedAt;
  const endedAt = date(row.ended_at);
  const stillOpen = number(row.still_open);
  const outcomes = counts(row.outcomes);
  const run = {
    ...NOTHING,
    kind,
    call: teller.call,
    ...place(row),
    dagName: text(row.dag_id),
    startedAt,
    endedAt: endedAt ?? startedAt,
    seconds: endedAt ? (endedAt - startedAt) / 1000 : 0,
    account: teller.account,
    currency: teller.currency,
    preview: false,
    warnings: [],
    stoppedBecause: text(row.stopped_because),
    error: text(row.error) || (endedAt ? "" : "It has no end: it was killed, or is still running."),
    isUntold: true,
    stillOpen,
    mismatches: number(row.mismatches),
    untold: [],
  };
  // Which of its problems were new, it does not say.
  const fresh = new Map([["rejected", Math.max((outcomes.get("rejected") ?? 0) - stillOpen, 0)]]);
  return { ...run, outcomes, fresh, ...booked(row, { ...run, outcomes, fresh }) };
}

/** What the bars show: what the run settled, and of what it did not settle only what no earlier run has reported. */
function news(outcomes, fresh, rechecked) {
  const shown = new Map(outcomes);
  for (const name of ["rejected", "changed"]) shown.set(name, fresh.get(name) ?? 0);
  // A recheck was not referred before: an earlier run counts it.
  if (rechecked) shown.set("not_referred", (shown.get("not_referred") ?? 0) - rechecked);
  return new Map([...shown].filter(([, count]) => count));
}

/** What every run has, as it is where there is nothing of it. */
const NOTHING = {
  ...Object.fromEntries(["outcomes", "news", "fresh", "rewards", "amounts"].map((name) => [name, new Map()])),
  ...Object.fromEntries(["sent", "requests", "rechecked", "stillOpen", "mismatches"].map((name) => [name, 0])),
  problems: [],
  cases: [],
};
/** The outcomes that are not settled: the next run handles them again. */
const PROBLEMS = ["rejected", "changed", "failed", "pending"];

function events(value) {
  const problems = list(value.problems).filter(isObject);
  const outcomes = counts(value.outcomes);
  const fresh = isObject(value.new) ? counts(value.new) : outcomes;
  return {
    ...NOTHING,
    outcomes,
    fresh,
    news: news(outcomes, fresh, number(value.rechecked)),
    read: text(value.read),
    sent: number(value.sent),
    requests: number(value.requests),
    skipped: number(value.skipped),
    rechecked: number(value.rechecked),
    repeated: number(value.repeated),
    leftPending: number(value.left_pending),
    stillOpen: number(value.still_open),
    rewardsUnknown: number(value.rewards_unknown),
    matchedByEmail: number(value.matched_by_email),
    withoutSale: number(value.without_sale_event_id),
    rewards: counts(value.rewards),
    amounts: counts(value.amounts),
    wouldBeSent: isObject(value.would_be_sent) ? preview(value.would_be_sent) : null,
    problems: problems.map((problem) => ({
      eventId: text(problem.event_id),
      outcome: text(problem.outcome),
      reason: text(problem.reason),
      isNew: problem.new !== false,
    })),
  };
}

function preview(value) {
  const currencies = isObject(value.by_currency) ? Object.entries(value.by_currency) : [];
  return {
    events: number(value.events),
    currencies: currencies
      .filter(([, totals]) => isObject(totals))
      .map(([currency, totals]) => ({ currency, sum: number(totals.sum), largest: number(totals.largest) })),
  };
}

function reconciliation(value) {
  const cases = isObject(value.cases) ? value.cases : {};
  const kinds = new Set([...MISMATCHES.keys(), ...Object.keys(cases)]);
  return {
    ...NOTHING,
    matched: number(value.matched),
    requests: number(value.requests),
    mismatches: number(value.mismatches),
    accepted: number(value.accepted),
    adopted: number(value.adopted),
    recovered: number(value.recovered),
    kinds: new Map([...kinds].map((kind) => [kind, number(value[kind]) || list(cases[kind]).length])),
    cases: [...kinds].flatMap((kind) =>
      list(cases[kind])
        .filter(isObject)
        .map((one) => mismatch(kind, one)),
    ),
  };
}

function revert(value) {
  return {
    ...NOTHING,
    requests: number(value.requests),
    rewards: new Map([...counts(value.denied)].map(([unit, amount]) => [unit, -amount])),
    selection: text(value.selection),
    selected: number(value.selected),
    toRevert: number(value.to_revert),
    doneBefore: number(value.already_denied) + number(value.already_reverted),
    revertedRefunds: number(value.reverted),
    denied: counts(value.denied),
    failed: number(value.failed),
    problems: list(value.failures).map((eventId) => ({
      eventId: text(eventId),
      outcome: "failed",
      reason: "its commission was to be denied, and is not",
      isNew: true,
    })),
  };
}

function mismatch(kind, value) {
  const id = (name) =>
    value[name] === null || value[name] === undefined || value[name] === 0 ? "" : text(value[name]);
  const amount = (name) => (typeof value[name] === "number" ? value[name] : null);
  return {
    kind,
    eventId: text(value.event_id),
    commissionId: id("commission_id"),
    otherEventId: text(value.other_event_id),
    currency: text(value.currency) || null,
    ledgerAmount: amount("ledger_amount"),
    firstpromoterAmount: amount("firstpromoter_amount"),
    ledgerStatus: text(value.ledger_reward_status),
    firstpromoterStatus: text(value.firstpromoter_reward_status),
  };
}

/** What makes two XComs come from the same task: its runs follow each other. */
export const taskKey = (run) => JSON.stringify([run.dagId, run.taskId, run.mapIndex, run.account, run.call]);
/** What tells a task instance from all others. */
export const instanceKey = (run) => JSON.stringify([run.dagId, run.runId, run.taskId, run.mapIndex]);

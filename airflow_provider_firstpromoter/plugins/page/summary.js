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

function kindOf(value) {
  if (!isObject(value)) return null;
  if (value.kind === "revert") return "revert";
  if (value.kind === "reconcile" || (!("outcomes" in value) && isObject(value.cases) && "matched" in value)) {
    return "reconcile";
  }
  return isObject(value.outcomes) && "requests" in value ? "refunds" : null;
}

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
  return {
    kind,
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
    requests: number(value.requests),
    warnings: list(value.warnings).map(text),
    stoppedBecause: text(value.stopped_because),
    ...{ refunds, reconcile: reconciliation, revert }[kind](value),
  };
}

/** What every run has, as it is where there is nothing of it. */
const NOTHING = { outcomes: new Map(), rewards: new Map(), amounts: new Map(), problems: [], cases: [] };

function refunds(value) {
  const problems = list(value.problems).filter(isObject);
  return {
    ...NOTHING,
    outcomes: counts(value.outcomes),
    read: text(value.read),
    sent: number(value.sent),
    skipped: number(value.skipped),
    rechecked: number(value.rechecked),
    repeated: number(value.repeated),
    leftPending: number(value.left_pending),
    stillOpen: number(value.still_open),
    rewardsUnknown: number(value.rewards_unknown),
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
export const taskKey = (run) => JSON.stringify([run.dagId, run.taskId, run.mapIndex, run.account]);
/** What tells a task instance from all others. */
export const instanceKey = (run) => JSON.stringify([run.dagId, run.runId, run.taskId, run.mapIndex]);

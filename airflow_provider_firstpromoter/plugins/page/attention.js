/**
 * Finds what needs attention: what the last run of each task reported and what it still counts as open.
 */

import { addUp } from "./totals.js";
import { MISMATCHES, taskKey } from "./summary.js";

/** A reward that changed is news, not a mistake: the ledger has it already. */
const NO_MISTAKE = "reward_changed";
/** What only a person can resolve. A failed refund is sent again by the next run. */
const LASTING = new Set(["rejected", "changed"]);

/**
 * @param {Array} runs newest first
 * @returns {{items: Array, open: number, unnamed: Array, notes: Array}} `items` are refunds and mismatches with their
 *   reasons; `open` is how many refunds there are, also those that no run names; `unnamed` are runs that count more
 *   than they name; `notes` are runs that ended early or warn
 */
export function needsAttention(runs) {
  const found = { items: new Map(), open: 0, unnamed: [], notes: [] };
  const tasks = Map.groupBy(runs.filter((run) => !run.preview), taskKey);
  for (const [last, ...earlier] of tasks.values()) {
    if (last.kind === "reconcile") addMismatches(found, last);
    else addProblems(found, last, earlier);
    if (last.stoppedBecause || last.warnings.length) found.notes.push(last);
  }
  const items = [...found.items.values()];
  const order = [...MISMATCHES.keys(), "failed", "changed", "rejected"];
  items.sort((a, b) => order.indexOf(a.outcome) - order.indexOf(b.outcome) || b.run.endedAt - a.run.endedAt);
  return { ...found, items };
}

function addProblems(found, last, earlier) {
  const counted = addUp([last.outcomes]);
  const reported = ["rejected", "changed", "failed"].reduce((total, outcome) => total + (counted.get(outcome) ?? 0), 0);
  const known = new Set(last.problems.map((problem) => problem.eventId).filter(Boolean));
  for (const problem of last.problems) add(found, last, problem, earlier);
  // Later runs do not name again what an earlier one has reported: they only count it.
  const old = last.problems.filter((problem) => !problem.isNew).length;
  const carried = Math.max((last.stillOpen ?? 0) - old, 0);
  let named = 0;
  for (const run of carried ? earlier : []) {
    for (const problem of run.problems) {
      if (named === carried || !problem.eventId || known.has(problem.eventId) || !LASTING.has(problem.outcome)) continue;
      known.add(problem.eventId);
      add(found, run, { ...problem, isNew: false }, earlier);
      named += 1;
    }
  }
  // A version that says what is still open may count it among the outcomes, or beside them.
  const open = Math.max(reported, last.problems.length + carried);
  found.open += open;
  const missing = open - last.problems.length - named;
  if (missing > 0) found.unnamed.push({ run: last, missing });
}

function add(found, run, problem, earlier) {
  const key = JSON.stringify([run.account, problem.eventId || [run.dagId, run.runId, found.items.size], problem.outcome]);
  const before = found.items.get(key);
  if (before) {
    found.open -= 1; // two tasks report the same refund
    return;
  }
  const same = (one) => problem.eventId && one.eventId === problem.eventId && one.outcome === problem.outcome;
  const first = earlier.findLast((older) => older.problems.some(same));
  found.items.set(key, { ...problem, run, since: (first ?? run).endedAt });
}

function addMismatches(found, run) {
  for (const one of run.cases.filter((one) => one.kind !== NO_MISTAKE)) {
    const key = JSON.stringify([run.account, one.kind, one.eventId, one.commissionId]);
    if (!found.items.has(key)) {
      found.items.set(key, { ...one, outcome: one.kind, mismatch: one, isNew: false, run, since: run.endedAt });
    }
  }
  found.open += run.mismatches;
  const missing = run.mismatches - run.cases.filter((one) => one.kind !== NO_MISTAKE).length;
  if (missing > 0) found.unnamed.push({ run, missing });
}

/**
 * Finds what needs attention: what the last run of each task reported and what it still counts as open.
 */

import { COMMANDS, MISMATCHES, taskKey } from "./summary.js";

/** A reward that changed is news, not a mistake: the ledger has it already. */
const NO_MISTAKE = "reward_changed";
/** What only a person can resolve. A failed event is sent again by the next run. */
const LASTING = new Set(["rejected", "changed"]);

/**
 * @param {Array} runs newest first
 * @param {function} namesAllOpen whether a run names or counts every event that is open at its end. One that reads a
 *   query does; one that is given a list knows of no other event.
 * @returns {{items: Array, open: number, stillOpen: number, unnamed: Array, notes: Array}} `items` are events and mismatches with their
 *   reasons; `open` is how many there are, also those that no run names,
 *   and `stillOpen` those of them that no run sends again; `unnamed` are runs that count more than they
 *   name; `notes` are runs that ended early or warn, the last of each task
 */
export function needsAttention(runs, namesAllOpen) {
  const found = { items: new Map(), open: 0, stillOpen: 0, unnamed: [], notes: [] };
  const tasks = Map.groupBy(
    runs.filter((run) => !run.preview && !(run.isUntold && run.dagId === COMMANDS)),
    taskKey,
  );
  for (const of of tasks.values()) {
    const newest = of[0];
    if (newest.stoppedBecause || newest.error || newest.warnings.length) found.notes.push(newest);
    // A run that ended early looked at nothing: what the one before it found still stands.
    const [last, ...earlier] = of.filter((run) => !run.error && !run.isUntold);
    if (!last) continue;
    if (last.kind === "reconcile") addMismatches(found, last);
    else if (last.kind === "revert") addReverts(found, last);
    else addProblems(found, last, earlier, namesAllOpen(last));
  }
  const items = [...found.items.values()];
  const order = [...MISMATCHES.keys(), "failed", "changed", "rejected"];
  items.sort((a, b) => order.indexOf(a.outcome) - order.indexOf(b.outcome) || b.run.endedAt - a.run.endedAt);
  return { ...found, items };
}

function addProblems(found, last, earlier, namesAllOpen) {
  const counted = ["rejected", "changed", "failed"].reduce((total, name) => total + (last.outcomes.get(name) ?? 0), 0);
  const known = new Set();
  for (const problem of last.problems) {
    if (problem.eventId) known.add(problem.eventId);
    add(found, last, problem, earlier);
  }
  // A summary names twenty of an outcome: the others were named when they were new. What a list does not have again
  // may have been corrected, or is left out because it has not changed: it stays here, and says so.
  let left = namesAllOpen ? Math.max(counted - last.problems.length, 0) : Infinity;
  let more = 0;
  for (const run of earlier) {
    for (const problem of run.problems) {
      if (!left || !problem.eventId || known.has(problem.eventId) || !LASTING.has(problem.outcome)) continue;
      known.add(problem.eventId);
      left -= 1;
      more += 1;
      add(found, run, { ...problem, isNew: false, notSince: !namesAllOpen }, earlier);
    }
  }
  const open = Math.max(counted, last.problems.length) + (namesAllOpen ? 0 : more);
  found.open += open;
  found.stillOpen += open - (last.outcomes.get("failed") ?? 0);
  const missing = Math.max(counted - last.problems.length - (namesAllOpen ? more : 0), 0);
  if (missing) found.unnamed.push({ run: last, missing });
}

function add(found, run, problem, earlier) {
  const key = JSON.stringify([
    run.account,
    run.call,
    problem.eventId || [run.dagId, run.runId, found.items.size],
    problem.outcome,
  ]);
  const same = (one) => problem.eventId && one.eventId === problem.eventId && one.outcome === problem.outcome;
  const since = (earlier.findLast((older) => older.problems.some(same)) ?? run).endedAt;
  const before = found.items.get(key);
  if (before) {
    found.open -= 1; // two tasks report the same event
    if (problem.outcome !== "failed") found.stillOpen -= 1;
    if (since < before.since) before.since = since;
    return;
  }
  found.items.set(key, { ...problem, run, since });
}

function addReverts(found, run) {
  for (const problem of run.problems) add(found, run, problem, []);
  found.open += run.failed;
  const missing = run.failed - run.problems.length;
  if (missing > 0) found.unnamed.push({ run, missing });
}

function addMismatches(found, run) {
  for (const one of run.cases.filter((one) => one.kind !== NO_MISTAKE)) {
    const key = JSON.stringify([run.account, run.call, one.kind, one.eventId, one.commissionId]);
    if (!found.items.has(key)) {
      found.items.set(key, { ...one, outcome: one.kind, mismatch: one, isNew: false, run, since: run.endedAt });
    }
  }
  found.open += run.mismatches;
  const missing = run.mismatches - run.cases.filter((one) => one.kind !== NO_MISTAKE).length;
  if (missing > 0) found.unnamed.push({ run, missing });
}

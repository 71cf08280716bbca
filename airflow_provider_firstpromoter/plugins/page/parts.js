/**
 * Draws what several sections of the page have in common.
 */

import { runUrl } from "./airflow.js";
import { outcomeClass } from "./charts.js";
import { el, table } from "./dom.js";
import { count, money, reward } from "./format.js";
import { CALLS, COMMANDS, MISMATCHES, OUTCOMES } from "./summary.js";

/** Rows of a table that are shown at first, and with every "Show more". */
const ROWS = 50;

export const heading = (id, text, ...more) => el("div", { class: "heading" }, el("h2", { id }, text), more);

/** The sums of a Map by unit, each in words. */
export const sums = (map, currency) => [...map].map(([unit, amount]) => reward(amount, unit, currency));

/** The word for an outcome or a kind of mismatch, with its colour. */
export function outcomeChip(name) {
  const className = MISMATCHES.has(name) ? "mismatch" : outcomeClass(name);
  return el("span", { class: `chip ${className}` }, MISMATCHES.get(name) ?? OUTCOMES.get(name) ?? name);
}

/** The cell with the event_id, or with what there is in its place. */
export function eventCell(one) {
  const other = one.commissionId ? `commission ${one.commissionId}` : "no event_id";
  return el("td", {}, el("div", { class: one.eventId ? "id" : "muted" }, one.eventId || other));
}

/** The word for the call of a run, where both are shown. */
export const callChip = (run) => el("span", { class: "chip plain" }, `${CALLS.get(run.call).one}s`);

/** The task's name, as a link to its DAG run; a command has none. */
export function taskName(run) {
  if (run.dagId === COMMANDS) return el("code", {}, `${COMMANDS} ${run.taskId}`);
  const mapped = run.mapIndex >= 0 ? ` [${run.mapIndex}]` : "";
  return el(
    "a",
    { href: runUrl(run), title: `DAG run ${run.runId}` },
    run.dagName,
    el("span", { class: "muted" }, ` › ${run.taskId}${mapped}`),
  );
}

/** Why a run ended early, and its warnings. */
export function note(run, head = null) {
  return el(
    "div",
    { class: "note" },
    head,
    run.error ? el("p", {}, el("strong", {}, "Failed: "), run.error) : null,
    run.stoppedBecause ? el("p", {}, el("strong", {}, "Stopped early: "), run.stoppedBecause) : null,
    run.warnings.map((warning) => el("p", {}, el("strong", {}, "Warning: "), warning)),
  );
}

export function mismatchInWords(one, { currency }) {
  const amount = (value) => (value === null ? "none" : money(value, one.currency ?? currency));
  const differs = one.ledgerAmount !== one.firstpromoterAmount;
  return (
    [
      one.otherEventId && `as well as ${one.otherEventId}`,
      (one.ledgerAmount !== null || one.firstpromoterAmount !== null) &&
        differs &&
        `ledger: ${amount(one.ledgerAmount)}, FirstPromoter: ${amount(one.firstpromoterAmount)}`,
      (one.ledgerStatus || one.firstpromoterStatus) &&
        one.ledgerStatus !== one.firstpromoterStatus &&
        `reward ${one.ledgerStatus || "unknown"} in the ledger, ${one.firstpromoterStatus || "unknown"} in FirstPromoter`,
    ]
      .filter(Boolean)
      .join("; ") ||
    MISMATCHES.get(one.kind) ||
    one.kind
  );
}

/** A table that shows the first rows, and more at the press of a button. */
export function longTable(caption, headings, rows, className = "") {
  const frame = table(
    caption,
    headings,
    rows.slice(0, ROWS).map((row) => row()),
    { class: className },
  );
  if (rows.length <= ROWS) return frame;
  const body = frame.querySelector("tbody");
  let shown = ROWS;
  const more = el("button", { type: "button" }, `Show more (${count(rows.length - shown)})`);
  more.addEventListener("click", () => {
    body.append(...rows.slice(shown, shown + ROWS).flatMap((row) => row()));
    shown += ROWS;
    more.textContent = `Show more (${count(rows.length - shown)})`;
    more.hidden = shown >= rows.length;
  });
  return el("div", {}, frame, more);
}

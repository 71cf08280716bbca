/**
 * Draws the sections of the page from runs.
 */

import { logUrl, runUrl } from "./airflow.js";
import { legend, moneyChart, outcomeClass, outcomesChart } from "./charts.js";
import { el, table } from "./dom.js";
import { count, counted, dateTime, duration, exactTime, money, reward } from "./format.js";
import { MISMATCHES, OUTCOMES } from "./summary.js";
import { addUp, barsOverTime, reversedOverTime, sending, sum } from "./totals.js";

/** Rows of a table that are shown at first, and with every "Show more". */
const ROWS = 50;
let lastId = 0;

const heading = (id, text, ...more) => el("div", { class: "heading" }, el("h2", { id }, text), more);
const chip = (name, words) => el("span", { class: `chip ${outcomeClass(name)}` }, words);
const outcomeChip = (name) => (MISMATCHES.has(name) ? el("span", { class: "chip mismatch" }, MISMATCHES.get(name)) : chip(name, OUTCOMES.get(name) ?? name));
const sums = (map, currency) => [...map].map(([unit, amount]) => reward(amount, unit, currency));

export function totals(runs, attention) {
  const sent = sending(runs);
  const outcomes = addUp(sent.map((run) => run.outcomes));
  const { series } = reversedOverTime(sent);
  const several = new Set(series.map((one) => one.account)).size > 1;
  const previews = runs.filter((run) => run.preview).length;
  const reconciliations = runs.filter((run) => run.kind === "reconcile").length;
  const others = [previews && counted(previews, "preview"), reconciliations && counted(reconciliations, "reconciliation")];
  const tile = (id, label, value, note, className = "") =>
    el("div", { class: `tile ${className}` }, el("h3", {}, label), el("p", { class: "value", id: `total-${id}` }, value), el("p", { class: "muted" }, note));
  return [
    tile("runs", "Runs", count(sent.length), others.filter(Boolean).join(", ") || "that sent refunds"),
    tile("sent", "Refunds sent", count(sum(sent, (run) => run.sent)), counted(sum(sent, (run) => run.requests), "request")),
    tile(
      "recorded",
      "Recorded",
      count(outcomes.get("recorded") ?? 0),
      [outcomes.get("already_recorded") && `${count(outcomes.get("already_recorded"))} already recorded`,
        outcomes.get("not_referred") && `${count(outcomes.get("not_referred"))} not referred`].filter(Boolean).join(", ") || "commissions reversed",
    ),
    tile(
      "reversed",
      "Reversed",
      series.length ? series.slice(0, 2).map((one) => el("span", {}, reward(one.total, one.unit, one.currency))) : "0",
      series.length > 2 ? `and ${counted(series.length - 2, "other sum")} below` : several ? series.map((one) => one.account || "unknown").join(", ") : series.length ? "of promoters’ commissions" : "nothing reversed",
      series.length > 1 ? "double" : "",
    ),
    tile(
      "attention",
      "Need attention",
      count(attention.open),
      attention.open ? "see the reasons below" : "nothing to do",
      attention.open ? "alert" : "calm",
    ),
  ];
}

export function outcomes(runs) {
  const sent = sending(runs).filter((run) => run.outcomes.size);
  const over = barsOverTime(sent);
  return [
    heading("outcomes-title", "Refunds by outcome", el("span", { class: "muted" }, sent.length ? `Each bar is a ${over.each}` : "")),
    ...(sent.length ? outcomesChart(over) : [el("p", { class: "empty" }, "No run had a refund to send.")]),
  ];
}

export function moneyOverTime(runs) {
  const { each, series } = reversedOverTime(sending(runs));
  const several = new Set(series.map((one) => one.account)).size > 1;
  const notes = [];
  if (series.some((one) => one.unit === "cash" && !one.currency)) {
    notes.push("Cash is in the account’s currency, shown with two decimals.");
  }
  return [
    heading("money-title", `Reversed per ${each}`),
    series.length ? null : el("p", { class: "empty" }, "No commission was reversed."),
    ...series.map((one) =>
      el(
        "div",
        { class: "series" },
        el("h3", {}, several ? `${one.account || "unknown account"} · ` : "", reward(one.total, one.unit, one.currency)),
        moneyChart(each, one, series.length > 1),
      ),
    ),
    notes.length ? el("p", { class: "muted small" }, notes.join(" ")) : null,
  ].filter(Boolean);
}

export function attention({ items, open, unnamed, notes }, severalAccounts) {
  const quiet = !items.length && !open && !notes.length;
  return [
    heading("attention-title", "Needs attention", open ? el("span", { class: "badge" }, count(open)) : null),
    quiet ? el("p", { class: "empty calm" }, "Nothing: the last run of every task settled all that it had to send.") : null,
    ...notes.map((run) => note(run, el("p", {}, taskName(run), el("span", { class: "muted" }, ` · ${dateTime(run.endedAt)}`)))),
    items.length
      ? longTable(
          "Refunds that need attention",
          ["What", ...(severalAccounts ? ["Account"] : []), "Refund", "Reason", "Since", "Reported by"],
          items.map((item) => () => attentionRow(item, severalAccounts)),
        )
      : null,
    items.some((item) => item.notSince)
      ? el("p", { class: "muted small" }, "Not named since: no later run was given the row again, because it has not changed, or it was corrected. The ledger’s view of open problems says which.")
      : null,
    ...unnamed.map(({ run, missing }) =>
      el("p", { class: "muted" }, `${counted(missing, "more refund")} counted by `, taskName(run), ", which does not name them all; the ledger’s view of open problems does."),
    ),
  ].filter(Boolean);
}

/** Why a run ended early, and its warnings. */
function note(run, head = null) {
  return el(
    "div",
    { class: "note" },
    head,
    run.stoppedBecause ? el("p", {}, el("strong", {}, "Stopped early: "), run.stoppedBecause) : null,
    run.warnings.map((warning) => el("p", {}, el("strong", {}, "Warning: "), warning)),
  );
}

function attentionRow(item, severalAccounts) {
  return el(
    "tr",
    {},
    el("td", {}, outcomeChip(item.outcome), item.isNew ? el("span", { class: "new" }, "new") : null),
    severalAccounts ? el("td", { class: "when" }, item.run.account || "unknown") : null,
    el("td", { class: "id" }, item.eventId || el("span", { class: "muted" }, item.commissionId ? `commission ${item.commissionId}` : "no event_id")),
    el("td", { class: "reason" }, item.mismatch ? mismatchInWords(item.mismatch) : item.reason || "no reason given"),
    el("td", { class: "when" }, dateTime(item.since), item.notSince ? el("div", { class: "muted small" }, "not named since") : null),
    el("td", {}, taskName(item.run)),
  );
}

function mismatchInWords(one) {
  const amount = (value) => (value === null ? "none" : money(value, one.currency));
  const differs = one.ledgerAmount !== one.firstpromoterAmount;
  return [
    one.otherEventId && `as well as ${one.otherEventId}`,
    (one.ledgerAmount !== null || one.firstpromoterAmount !== null) && differs &&
      `ledger: ${amount(one.ledgerAmount)}, FirstPromoter: ${amount(one.firstpromoterAmount)}`,
    (one.ledgerStatus || one.firstpromoterStatus) && one.ledgerStatus !== one.firstpromoterStatus &&
      `reward ${one.ledgerStatus || "unknown"} in the ledger, ${one.firstpromoterStatus || "unknown"} in FirstPromoter`,
  ].filter(Boolean).join("; ") || MISMATCHES.get(one.kind) || one.kind;
}

/** The task's name, as a link to its DAG run. */
function taskName(run) {
  const mapped = run.mapIndex >= 0 ? ` [${run.mapIndex}]` : "";
  return el("a", { href: runUrl(run), title: `DAG run ${run.runId}` }, run.dagName, el("span", { class: "muted" }, ` › ${run.taskId}${mapped}`));
}

export function runList(runs, severalAccounts, olderButton) {
  return [
    heading("runs-title", "Runs", el("span", { class: "muted" }, counted(runs.length, "run"))),
    longTable(
      "Runs",
      ["Ended", "Task", ...(severalAccounts ? ["Account"] : []), "Outcomes", "Reversed", "Log and details"],
      runs.map((run) => () => runRows(run, severalAccounts)),
      "runs",
    ),
    olderButton,
  ].filter(Boolean);
}

function runRows(run, severalAccounts) {
  const id = `details-${(lastId += 1)}`;
  const details = el("tr", { class: "details", hidden: true }, el("td", { colspan: severalAccounts ? 6 : 5, id }, ""));
  const toggle = el("button", { type: "button", class: "link", "aria-expanded": "false", "aria-controls": id }, "Details");
  toggle.addEventListener("click", () => {
    const open = details.hidden;
    details.hidden = !open;
    toggle.setAttribute("aria-expanded", String(open));
    if (open) details.firstChild.replaceChildren(...runDetails(run));
  });
  return [
    el(
      "tr",
      {},
      el("td", { class: "when" }, el("time", { datetime: run.endedAt.toISOString(), title: exactTime(run.endedAt) }, dateTime(run.endedAt)), el("div", { class: "muted small" }, duration(run.seconds))),
      el("td", {}, taskName(run), badges(run)),
      severalAccounts ? el("td", { class: "when" }, run.account || "unknown") : null,
      el("td", {}, run.kind === "refunds" ? [proportions(run.outcomes), el("div", { class: "small" }, outcomesInWords(run))] : reconciliationInWords(run)),
      el("td", { class: "number" }, sums(run.reversed, run.currency).map((one) => el("div", {}, one))),
      el("td", { class: "actions" }, el("a", { href: logUrl(run) }, "Log"), toggle),
    ),
    details,
  ];
}

function badges(run) {
  return [
    run.preview && el("span", { class: "chip plain" }, "preview"),
    run.kind === "reconcile" && el("span", { class: "chip plain" }, "reconciliation"),
    run.stoppedBecause && el("span", { class: "chip outcome-failed" }, "stopped early"),
  ];
}

function outcomesInWords(run) {
  const found = [...OUTCOMES.keys(), ...run.outcomes.keys()].filter((name, i, all) => run.outcomes.get(name) && all.indexOf(name) === i);
  return found.map((name) => `${count(run.outcomes.get(name))} ${OUTCOMES.get(name) ?? name}`).join(" · ") || "nothing to send";
}

function reconciliationInWords(run) {
  const found = [...run.kinds].filter(([, value]) => value).map(([kind, value]) => `${count(value)} ${MISMATCHES.get(kind) ?? kind}`);
  return el("div", { class: "small" }, [`${count(run.matched)} matched`, ...found, run.adopted ? `${count(run.adopted)} adopted` : ""].filter(Boolean).join(" · "));
}

/** A thin bar with the share of each outcome. */
function proportions(counts) {
  const all = [...counts.values()].reduce((total, value) => total + value, 0);
  if (!all) return null;
  const bar = el("div", { class: "proportions", "aria-hidden": "true" });
  for (const name of [...OUTCOMES.keys(), ...[...counts.keys()].filter((name) => !OUTCOMES.has(name))]) {
    if (!counts.get(name)) continue;
    const part = el("i", { class: outcomeClass(name) });
    part.style.flexGrow = String(counts.get(name));
    bar.append(part);
  }
  return bar;
}

const fact = (label, value) => (value ? el("div", {}, el("dt", {}, label), el("dd", {}, value)) : null);
const some = (label, value) => (value ? fact(label, count(value)) : null);

/** What a preview says: how many, and the sum and the largest amount of each currency. */
function wouldBeSent({ wouldBeSent: would }) {
  if (!would) return [];
  const named = (currency) => (currency === "account" ? "" : currency);
  return [
    fact("Would be sent", count(would.refunds)),
    ...would.currencies.map(({ currency, sum, largest }) =>
      fact(`Sum, ${named(currency) || "account’s currency"}`, `${money(sum, named(currency))}, the largest ${money(largest, named(currency))}`),
    ),
  ];
}

/** All that a run's summary says. */
export function runDetails(run) {
  const common = [
    fact("DAG run", el("a", { href: runUrl(run) }, run.runId)),
    fact("Log", el("a", { href: logUrl(run) }, `${run.taskId}${run.mapIndex >= 0 ? ` [${run.mapIndex}]` : ""}`)),
    fact("Account", run.account || "unknown"),
    fact("Started", exactTime(run.startedAt)),
    fact("Ended", `${exactTime(run.endedAt)} (${duration(run.seconds).replaceAll(" ", "\u00a0")})`),
    fact("Requests", count(run.requests)),
  ];
  const own =
    run.kind === "refunds"
      ? [
          fact("Sent", count(run.sent)),
          some("Settled before", run.skipped),
          some("Sent again (rechecks)", run.rechecked),
          some("Repeated rows", run.repeated),
          some("Left pending", run.leftPending),
          some("Reported before, still open", run.stillOpen),
          some("Rewards not known", run.rewardsUnknown),
          some("Without sale_event_id", run.withoutSale),
          ...wouldBeSent(run),
          fact("Reversed", sums(run.reversed, run.currency).join(", ")),
          fact("Refunded", [...run.refunded].map(([currency, amount]) => money(amount, currency)).join(", ")),
        ]
      : [fact("Matched", count(run.matched)), fact("Mismatches", count(run.mismatches)), some("Accepted", run.accepted), some("Adopted", run.adopted), some("Recovered", run.recovered)];
  return [
    run.preview ? el("p", {}, "A preview: nothing was sent or written.") : null,
    run.outcomes.size ? legend(run.outcomes) : null,
    el("dl", { class: "facts" }, [...common, ...own].filter(Boolean)),
    run.stoppedBecause || run.warnings.length ? note(run) : null,
    run.problems.length || run.cases?.length
      ? longTable(
          "Refunds with a reason",
          ["What", "Refund", "Reason"],
          [...run.problems, ...(run.cases ?? []).map((one) => ({ ...one, outcome: one.kind, mismatch: one }))].map((one) => () =>
            el(
              "tr",
              {},
              el("td", {}, outcomeChip(one.outcome)),
              el("td", { class: "id" }, one.eventId || el("span", { class: "muted" }, one.commissionId ? `commission ${one.commissionId}` : "no event_id")),
              el("td", { class: "reason" }, one.mismatch ? mismatchInWords(one.mismatch) : one.reason || "no reason given"),
            ),
          ),
        )
      : null,
  ].filter(Boolean);
}

/** A table that shows the first rows, and more at the press of a button. */
function longTable(caption, headings, rows, className = "") {
  const frame = table(caption, headings, rows.slice(0, ROWS).map((row) => row()), { class: className });
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

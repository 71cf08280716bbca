/**
 * Draws the totals, the charts and what needs attention.
 */

import { moneyChart, outcomesChart } from "./charts.js";
import { el } from "./dom.js";
import { count, counted, dateTime, reward } from "./format.js";
import { heading, longTable, mismatchInWords, note, outcomeChip, refundId, taskName } from "./parts.js";
import { addUp, barsOverTime, reversedOverTime, sending, sum } from "./totals.js";

export function totals(runs, attention) {
  const sent = sending(runs);
  const outcomes = addUp(sent.map((run) => run.outcomes));
  const { series } = reversedOverTime(sent);
  const several = new Set(series.map((one) => one.account)).size > 1;
  const previews = runs.filter((run) => run.preview).length;
  const ofKind = (kind) => runs.filter((run) => run.kind === kind && !run.preview).length;
  const others = [
    previews && counted(previews, "preview"),
    ofKind("reconcile") && counted(ofKind("reconcile"), "reconciliation"),
    ofKind("revert") && counted(ofKind("revert"), "revert"),
  ];
  const tile = (id, label, value, note, className = "") =>
    el(
      "div",
      { class: `tile ${className}` },
      el("h3", {}, label),
      el("p", { class: "value", id: `total-${id}` }, value),
      el("p", { class: "muted" }, note),
    );
  return [
    tile("runs", "Runs", count(sent.length), others.filter(Boolean).join(", ") || "that sent refunds"),
    tile(
      "sent",
      "Refunds sent",
      count(sum(sent, (run) => run.sent)),
      counted(
        sum(sent, (run) => run.requests),
        "request",
      ),
    ),
    tile(
      "recorded",
      "Recorded",
      count(outcomes.get("recorded") ?? 0),
      [
        outcomes.get("already_recorded") && `${count(outcomes.get("already_recorded"))} already recorded`,
        outcomes.get("not_referred") && `${count(outcomes.get("not_referred"))} not referred`,
      ]
        .filter(Boolean)
        .join(", ") || "commissions reversed",
    ),
    tile(
      "reversed",
      "Reversed",
      series.length ? series.slice(0, 2).map((one) => el("span", {}, reward(one.total, one.unit, one.currency))) : "0",
      series.length > 2
        ? `and ${counted(series.length - 2, "other sum")} below`
        : several
          ? series.map((one) => one.account || "unknown").join(", ")
          : series.length
            ? "of promoters’ commissions"
            : "nothing reversed",
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
    heading(
      "outcomes-title",
      "Refunds by outcome",
      el("span", { class: "muted" }, sent.length ? `Each bar is a ${over.each}` : ""),
    ),
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
        el(
          "h3",
          {},
          several ? `${one.account || "unknown account"} · ` : "",
          reward(one.total, one.unit, one.currency),
        ),
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
    quiet
      ? el("p", { class: "empty calm" }, "Nothing: the last run of every task settled all that it had to send.")
      : null,
    ...notes.map((run) =>
      note(run, el("p", {}, taskName(run), el("span", { class: "muted" }, ` · ${dateTime(run.endedAt)}`))),
    ),
    items.length
      ? longTable(
          "Refunds that need attention",
          ["What", ...(severalAccounts ? ["Account"] : []), "Refund", "Reason", "Since", "Reported by"],
          items.map((item) => () => attentionRow(item, severalAccounts)),
        )
      : null,
    items.some((item) => item.notSince)
      ? el(
          "p",
          { class: "muted small" },
          "Not named since: no later run was given the row again, because it has not changed, or it was corrected. The ledger’s view of open problems says which.",
        )
      : null,
    ...unnamed.map(({ run, missing }) =>
      el(
        "p",
        { class: "muted" },
        `${counted(missing, "more refund")} counted by `,
        taskName(run),
        ", which does not name them all; the ledger’s view of open problems does.",
      ),
    ),
  ].filter(Boolean);
}

function attentionRow(item, severalAccounts) {
  return el(
    "tr",
    {},
    el("td", {}, outcomeChip(item.outcome), item.isNew ? el("span", { class: "new" }, "new") : null),
    severalAccounts ? el("td", { class: "when" }, item.run.account || "unknown") : null,
    el("td", { class: "id" }, refundId(item)),
    el("td", { class: "reason" }, item.mismatch ? mismatchInWords(item.mismatch) : item.reason || "no reason given"),
    el(
      "td",
      { class: "when" },
      dateTime(item.since),
      item.notSince ? el("div", { class: "muted small" }, "not named since") : null,
    ),
    el("td", {}, taskName(item.run)),
  );
}

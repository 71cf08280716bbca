/**
 * Draws the totals, the charts and what needs attention.
 */

import { capital, moneyChart, outcomesChart } from "./charts.js";
import { el } from "./dom.js";
import { count, counted, dateTime, numberAndUnit, reward } from "./format.js";
import { callChip, eventCell, heading, longTable, mismatchInWords, note, outcomeChip, taskName } from "./parts.js";
import { CALLS, OUTCOMES } from "./summary.js";
import { addUp, barsOverTime, done, moneyByDay, nounOf, sending, sum } from "./totals.js";

export function totals(runs, attention) {
  const all = done(runs);
  const sent = sending(runs);
  const outcomes = addUp(all.map((run) => run.news));
  const previews = runs.length - all.length;
  const ofKind = (kind) => all.filter((run) => run.kind === kind).length;
  const noun = nounOf(runs);
  const kinds = [
    sent.length && `${count(sent.length)} sent ${noun}s`,
    previews && counted(previews, "preview"),
    ofKind("reconcile") && counted(ofKind("reconcile"), "reconciliation"),
    ofKind("revert") && counted(ofKind("revert"), "revert"),
  ];
  return [
    tile("runs", "Runs", count(runs.length), kinds.filter(Boolean).join(", ") || `none sent ${noun}s`),
    tile(
      "sent",
      `${capital(noun)}s sent`,
      count(sum(sent, (run) => run.sent)),
      counted(
        sum(all, (run) => run.requests),
        "request",
      ),
    ),
    tile(
      "recorded",
      "Recorded",
      count(outcomes.get("recorded") ?? 0),
      ["already_recorded", "not_referred", "reverted"]
        .filter((name) => outcomes.get(name))
        .map((name) => `${count(outcomes.get(name))} ${OUTCOMES.get(name)}`)
        .join(", ") || "by FirstPromoter",
    ),
    ...moneyTiles(runs),
    tile(
      "attention",
      "Need attention",
      count(attention.open),
      attention.open ? "see the reasons below" : "nothing to do",
      attention.open ? "alert" : "calm",
    ),
  ];
}

/** What was earned and what was reversed; where there is both, side by side, and their net. */
function moneyTiles(runs) {
  const { series } = moneyByDay(runs);
  const calls = [...CALLS].filter(([call]) => runs.some((run) => run.call === call));
  const several = new Set(series.map((one) => one.account)).size > 1;
  const sums = (id, label, of, words) => {
    const shown = series.filter((one) => of(one) !== undefined);
    const values = shown.slice(0, 2).map((one) => {
      const [number, unit] = numberAndUnit(reward(of(one), one.unit, one.currency));
      return el("span", {}, number, unit ? el("small", {}, ` ${unit}`) : null);
    });
    const note =
      shown.length > 2
        ? `and ${counted(shown.length - 2, "other sum")} below`
        : several
          ? shown.map((one) => one.account || "unknown").join(", ")
          : words;
    return tile(id, label, values.length ? values : "0", note, `money ${shown.length > 1 ? "double" : ""}`);
  };
  const ofCall = ([call, { commissions }]) =>
    sums(commissions, capital(commissions), (one) => one.byCall.get(call), "of promoters’ commissions");
  const net = calls.length > 1 ? [sums("net", "Net", (one) => one.net, "earned less reversed")] : [];
  return [...calls.map(ofCall), ...net];
}

const tile = (id, label, value, note, className = "") =>
  el(
    "div",
    { class: `tile ${className}` },
    el("h3", {}, label),
    el("p", { class: "value", id: `total-${id}` }, value),
    el("p", { class: "muted" }, note),
  );

export function outcomes(runs, attention) {
  const noun = nounOf(runs);
  const shown = done(runs).filter((run) => run.news.size);
  const over = barsOverTime(shown);
  return [
    heading(
      "outcomes-title",
      `${capital(noun)}s by outcome`,
      el("span", { class: "muted" }, shown.length ? `Each bar is a ${over.each}` : ""),
    ),
    ...(shown.length
      ? outcomesChart(over, noun, attention.stillOpen)
      : [el("p", { class: "empty" }, `No run had a ${noun} to send.`)]),
  ];
}

export function moneyOverTime(runs) {
  const { each, series } = moneyByDay(runs);
  const several = new Set(series.map((one) => one.account)).size > 1;
  const calls = [...CALLS].filter(([call]) => runs.some((run) => run.call === call));
  const title = calls.map(([, { commissions }]) => commissions).join(" and ");
  return [
    heading("money-title", `${capital(title)} per ${each}`),
    series.length ? null : el("p", { class: "empty" }, "No commission changed."),
    ...series.map((one) =>
      el(
        "div",
        { class: "series" },
        el(
          "h3",
          {},
          several ? `${one.account || "unknown account"} · ` : "",
          reward(one.net, one.unit, one.currency),
        ),
        moneyChart(each, one, series.length > 1),
      ),
    ),
    series.some((one) => one.unit === "cash" && !one.currency)
      ? el(
          "p",
          { class: "muted small" },
          "The connection does not name the account’s currency: amounts are shown with two decimals.",
        )
      : null,
  ].filter(Boolean);
}

export function attention({ items, open, unnamed, notes }, several) {
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
          "What needs attention",
          ["What", ...(several.accounts ? ["Account"] : []), "Event", "Reason", "Since", "Reported by"],
          items.map((item) => () => attentionRow(item, several)),
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
        `${counted(missing, "more event")} counted by `,
        taskName(run),
        ", which does not name them all; the ledger’s view of open problems does.",
      ),
    ),
  ].filter(Boolean);
}

function attentionRow(item, several) {
  return el(
    "tr",
    {},
    el("td", {}, outcomeChip(item.outcome), item.isNew ? el("span", { class: "new" }, "new") : null),
    several.accounts ? el("td", { class: "when" }, item.run.account || "unknown") : null,
    eventCell(item),
    el("td", { class: "reason" }, item.mismatch ? mismatchInWords(item.mismatch, item.run) : item.reason || "no reason given"),
    el(
      "td",
      { class: "when" },
      dateTime(item.since),
      item.notSince ? el("div", { class: "muted small" }, "not named since") : null,
    ),
    el("td", {}, taskName(item.run), several.calls ? callChip(item.run) : null),
  );
}

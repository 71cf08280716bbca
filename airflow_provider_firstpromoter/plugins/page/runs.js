/**
 * Draws the list of runs, and all that one run's summary says.
 */

import { logUrl, runUrl } from "./airflow.js";
import { legend, outcomeClass } from "./charts.js";
import { el } from "./dom.js";
import { count, counted, dateTime, duration, exactTime, money } from "./format.js";
import { callChip, eventCell, heading, longTable, mismatchInWords, note, outcomeChip, sums, taskName } from "./parts.js";
import { CALLS, COMMANDS, MISMATCHES, OUTCOMES } from "./summary.js";

let lastId = 0;

export function runList(runs, several, olderButton) {
  return [
    heading("runs-title", "Runs", el("span", { class: "muted" }, counted(runs.length, "run"))),
    longTable(
      "Runs",
      ["Ended", "Task", ...(several.accounts ? ["Account"] : []), "Outcomes", "Commissions", "Log and details"],
      runs.map((run) => () => runRows(run, several)),
      "runs",
    ),
    olderButton,
  ].filter(Boolean);
}

function runRows(run, several) {
  const id = `details-${(lastId += 1)}`;
  const details = el("tr", { class: "details", hidden: true }, el("td", { colspan: several.accounts ? 6 : 5, id }, ""));
  const toggle = el(
    "button",
    { type: "button", class: "link", "aria-expanded": "false", "aria-controls": id },
    "Details",
  );
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
      el(
        "td",
        { class: "when" },
        el("time", { datetime: run.endedAt.toISOString(), title: exactTime(run.endedAt) }, dateTime(run.endedAt)),
        el("div", { class: "muted small" }, duration(run.seconds)),
      ),
      el("td", {}, taskName(run), several.calls ? callChip(run) : null, badges(run)),
      several.accounts ? el("td", { class: "when" }, run.account || "unknown") : null,
      el(
        "td",
        {},
        run.kind === "events" ? proportions(run.news) : null,
        el("div", { class: "small" }, inWords[run.isUntold ? "events" : run.kind](run)),
        run.error ? el("div", { class: "small error" }, run.error) : null,
      ),
      el(
        "td",
        { class: "number" },
        sums(run.rewards, run.currency).map((one) => el("div", {}, one)),
      ),
      el("td", { class: "actions" }, logLink(run, "Log"), toggle),
    ),
    details,
  ];
}

function badges(run) {
  return [
    run.preview && el("span", { class: "chip plain" }, "preview"),
    run.kind === "reconcile" && el("span", { class: "chip plain" }, "reconciliation"),
    run.kind === "revert" && el("span", { class: "chip plain" }, "revert"),
    run.tries > 1 && el("span", { class: "chip plain" }, counted(run.tries, "try", "tries")),
    (run.error || run.endedWith) &&
      el("span", { class: "chip outcome-failed" }, run.isUntold && !run.seconds ? "no end" : "failed"),
    run.stoppedBecause && el("span", { class: "chip outcome-failed" }, "stopped early"),
  ];
}

/** A command writes no log in Airflow. */
const logLink = (run, text) => (run.dagId === COMMANDS ? null : el("a", { href: logUrl(run) }, text));

/** What a run of each kind did, in a line. */
const inWords = { events: outcomesInWords, reconcile: reconciliationInWords, revert: revertInWords };

function outcomesInWords(run) {
  const found = [...OUTCOMES.keys(), ...run.news.keys()].filter(
    (name, i, all) => run.news.get(name) > 0 && all.indexOf(name) === i,
  );
  const words = found.map((name) => `${count(run.news.get(name))} ${OUTCOMES.get(name) ?? name}`);
  if (run.rechecked) words.push(`${count(run.rechecked)} rechecked`);
  if (run.stillOpen) words.push(`${count(run.stillOpen)} still open`);
  return words.join(" · ") || (run.error ? "" : "nothing to send");
}

function reconciliationInWords(run) {
  const found = [...run.kinds]
    .filter(([, value]) => value)
    .map(([kind, value]) => `${count(value)} ${MISMATCHES.get(kind) ?? kind}`);
  return [`${count(run.matched)} matched`, ...found, run.adopted ? `${count(run.adopted)} adopted` : ""]
    .filter(Boolean)
    .join(" · ");
}

function revertInWords(run) {
  return [
    `${count(run.selected)} selected`,
    run.preview ? `${count(run.toRevert)} would be reverted` : `${count(run.revertedRefunds)} reverted`,
    run.failed ? `${count(run.failed)} failed` : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/** A thin bar with the share of each outcome. */
function proportions(counts) {
  if (![...counts.values()].some((value) => value > 0)) return null;
  const bar = el("div", { class: "proportions", "aria-hidden": "true" });
  for (const name of [...OUTCOMES.keys(), ...[...counts.keys()].filter((name) => !OUTCOMES.has(name))]) {
    if (!(counts.get(name) > 0)) continue;
    const part = el("i", { class: outcomeClass(name) });
    part.style.flexGrow = String(counts.get(name));
    bar.append(part);
  }
  return bar;
}

const fact = (label, value) => (value ? el("div", {}, el("dt", {}, label), el("dd", {}, value)) : null);
const some = (label, value) => (value ? fact(label, count(value)) : null);

/** What a preview says: how many, and the sum and the largest amount of each currency. */
function wouldBeSent({ wouldBeSent: would, currency: own }) {
  if (!would) return [];
  const named = (currency) => (currency === "account" ? own : currency);
  return [
    fact("Would be sent", count(would.events)),
    ...would.currencies.map(({ currency, sum, largest }) =>
      fact(
        `Sum, ${named(currency) || "account’s currency"}`,
        `${money(sum, named(currency))}, the largest ${money(largest, named(currency))}`,
      ),
    ),
  ];
}

const eventFacts = (run) => [
  fact("Read", run.read),
  fact("Sent", count(run.sent)),
  some("Settled before", run.skipped),
  some("Sent again (rechecks)", run.rechecked),
  some("Repeated rows", run.repeated),
  some("Left pending", run.leftPending),
  some("Reported before, still open", run.stillOpen),
  some("Matched by e-mail, not by the row’s uid", run.matchedByEmail),
  some("Rewards not known", run.rewardsUnknown),
  some("Without sale_event_id", run.withoutSale),
  ...wouldBeSent(run),
  fact(run.call === "sales" ? "Earned" : "Reversed", sums(run.rewards, run.currency).join(", ")),
  fact(
    run.call === "sales" ? "Sold" : "Refunded",
    [...run.amounts].map(([name, amount]) => money(amount, name === "account" ? run.currency : name)).join(", "),
  ),
];

const reconciliationFacts = (run) => [
  fact("Matched", count(run.matched)),
  fact("Mismatches", count(run.mismatches)),
  some("Accepted", run.accepted),
  some("Adopted", run.adopted),
  some("Recovered", run.recovered),
  fact("Commissions changed by", sums(run.rewards, run.currency).join(", ")),
];

const revertFacts = (run) => [
  fact("Selection", run.selection),
  fact("Selected", count(run.selected)),
  fact("To revert", count(run.toRevert)),
  fact("Reverted", count(run.revertedRefunds)),
  some("Denied or reverted before", run.doneBefore),
  some("Left alone", run.selected - run.toRevert - run.doneBefore),
  some("Failed", run.failed),
  fact("Denied commissions", sums(run.denied, run.currency).join(", ")),
];

const untoldFacts = (run) => [
  some("Sent", run.sent),
  some("Mismatches", run.mismatches),
  fact("Commissions changed by", sums(run.rewards, run.currency).join(", ")),
];

/** All that a run's summary says. */
export function runDetails(run) {
  const isTask = run.dagId !== COMMANDS;
  const common = [
    fact("Call", CALLS.get(run.call).one),
    isTask && fact("DAG run", el("a", { href: runUrl(run) }, run.runId)),
    fact("Log", logLink(run, `${run.taskId}${run.mapIndex >= 0 ? ` [${run.mapIndex}]` : ""}`)),
    fact("Account", run.account || "unknown"),
    fact("Started", exactTime(run.startedAt)),
    fact("Ended", `${exactTime(run.endedAt)} (${duration(run.seconds).replaceAll(" ", "\u00a0")})`),
    fact("Requests", count(run.requests)),
  ];
  const facts = run.isUntold ? untoldFacts : { events: eventFacts, reconcile: reconciliationFacts, revert: revertFacts }[run.kind];
  const own = facts(run);
  return [
    run.isUntold ? el("p", {}, "From the run history: the run itself left no summary in Airflow.") : null,
    run.preview ? el("p", {}, "A preview: nothing was sent or written.") : null,
    run.news.size || run.stillOpen ? legend(run.news, run.stillOpen) : null,
    el("dl", { class: "facts" }, [...common, ...own].filter(Boolean)),
    run.error || run.stoppedBecause || run.warnings.length ? note(run) : null,
    run.problems.length || run.cases.length
      ? longTable(
          "Events with a reason",
          ["What", "Event", "Reason"],
          [...run.problems, ...run.cases.map((one) => ({ ...one, outcome: one.kind, mismatch: one }))].map(
            (one) => () =>
              el(
                "tr",
                {},
                el("td", {}, outcomeChip(one.outcome)),
                eventCell(one),
                el(
                  "td",
                  { class: "reason" },
                  one.mismatch ? mismatchInWords(one.mismatch, run) : one.reason || "no reason given",
                ),
              ),
          ),
        )
      : null,
  ].filter(Boolean);
}

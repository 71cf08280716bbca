/**
 * Adds runs up: totals, bars over time, money per day. Previews sent nothing and count in none of it.
 */

import { count, dateTime, dayKey, daysBetween, hourKey, monthDay, monthName, timeOfDay } from "./format.js";
import { CALLS } from "./summary.js";

/** More runs than this are drawn as one bar an hour, a day or a week. */
const MOST_BARS = 60;
/** More days than this are drawn as one bar a month. */
const MOST_DAYS = 120;
const HOUR = 3_600_000;

/** What changes a promoter's balance, in the order in which it is drawn, with the words for it. */
export const CHANGES = new Map([
  ["earned", "earned"],
  ["reversed", "reversed"],
  ["reverted", "reverts"],
  ["reconciled", "reconciliations"],
]);

/** Runs that changed, or would have changed, what the ledger says: no previews. */
export const done = (runs) => runs.filter((run) => !run.preview);
/** Runs that sent events. */
export const sending = (runs) => done(runs).filter((run) => run.kind === "events" && run.sent);

export const sum = (runs, value) => runs.reduce((total, run) => total + value(run), 0);

/** Adds the numbers of several Maps, name by name. */
export function addUp(maps) {
  const total = new Map();
  for (const map of maps) for (const [name, value] of map) total.set(name, (total.get(name) ?? 0) + value);
  return total;
}

/** What the runs are about: `refund`, `sale`, or `event` where they are about both. */
export function nounOf(runs) {
  const calls = new Set(runs.map((run) => run.call));
  return calls.size === 1 ? CALLS.get([...calls][0]).one : "event";
}

/**
 * The bars of runs over time, oldest first: one a run, or an hour, a day or a week where there are many.
 *
 * @returns {{each: string, bars: Array<{label: string, title: string, counts: Map, runs: number}>}}
 */
export function barsOverTime(runs) {
  const oldestFirst = [...runs].sort((a, b) => a.endedAt - b.endedAt);
  if (oldestFirst.length <= MOST_BARS) {
    const days = oldestFirst.map((run) => dayKey(run.endedAt));
    // Several days: each is named below its first bar. One day: each bar has its time.
    const severalDays = days[0] !== days.at(-1);
    return {
      each: "run",
      bars: oldestFirst.map((run, i) => ({
        label: !severalDays ? timeOfDay(run.endedAt) : days[i] === days[i - 1] ? "" : monthDay(run.endedAt),
        title: `${dateTime(run.endedAt)} · ${run.dagName}`,
        counts: run.news,
        runs: 1,
      })),
    };
  }
  const [first, last] = [oldestFirst[0].endedAt, oldestFirst.at(-1).endedAt];
  const hours = last - first <= (MOST_BARS - 1) * HOUR;
  const slots = hours ? hoursBetween(first, last) : daysBetween(first, last);
  const byKey = Map.groupBy(oldestFirst, (run) => (hours ? hourKey : dayKey)(run.endedAt));
  const bars = slots.map(({ key, label }) => bar(label, byKey.get(key) ?? []));
  if (bars.length <= MOST_BARS) return { each: hours ? "hour" : "day", bars };
  const weeks = [];
  for (let i = 0; i < slots.length; i += 7) {
    const days = slots.slice(i, i + 7);
    const week = bar(
      days[0].label,
      days.flatMap(({ key }) => byKey.get(key) ?? []),
    );
    weeks.push({ ...week, title: `${days[0].label} – ${days.at(-1).label}` });
  }
  return { each: "week", bars: weeks };
}

function bar(label, runs) {
  return { label, title: label, counts: addUp(runs.map((run) => run.news)), runs: runs.length };
}

function hoursBetween(first, last) {
  const hours = [];
  for (let time = first.getTime(); ; time += HOUR) {
    const hour = new Date(time);
    hours.push({ key: hourKey(hour), label: `${monthDay(hour)}, ${hourKey(hour).slice(11)}:00` });
    if (hourKey(hour) >= hourKey(last)) return hours;
  }
}

/** Which change of a promoter's balance a run made. */
const changeOf = (run) => ({ revert: "reverted", reconcile: "reconciled" })[run.kind] ?? CALLS.get(run.call).commissions;

/**
 * By how much the commissions in effect changed on each day, or in each month where there are many days, by account and
 * unit: sums of different currencies mean nothing.
 *
 * @returns {{each: string, series: Array<{account: string, unit: string, currency: string|null, byCall: Map,
 *   changes: Map, net: number, bars: Array<{label: string, changes: Map}>}>}} `byCall` has what the ledger of each call
 *   adds up to, reverts and reconciliations included; the largest sum is first
 */
export function moneyByDay(runs) {
  const changed = done(runs).filter((run) => run.rewards.size);
  if (!changed.length) return { each: "day", series: [] };
  const ends = done(runs).map((run) => run.endedAt);
  let slots = daysBetween(new Date(Math.min(...ends)), new Date(Math.max(...ends)));
  const monthly = slots.length > MOST_DAYS;
  const keyOf = (key) => (monthly ? key.slice(0, 7) : key);
  if (monthly) slots = [...new Set(slots.map(({ key }) => keyOf(key)))].map((key) => ({ key, label: monthName(key) }));
  const series = new Map();
  for (const run of changed) {
    for (const [unit, amount] of run.rewards) {
      const key = JSON.stringify([run.account, unit]);
      if (!series.has(key)) series.set(key, { account: run.account, unit, currency: null, of: [] });
      const one = series.get(key);
      one.currency ??= run.currency;
      one.of.push({ call: run.call, change: changeOf(run), slot: keyOf(dayKey(run.endedAt)), amount });
    }
  }
  const sums = (entries, by) => addUp(entries.map((entry) => new Map([[entry[by], entry.amount]])));
  return {
    each: monthly ? "month" : "day",
    series: [...series.values()]
      .map(({ of, ...one }) => {
        const bySlot = Map.groupBy(of, ({ slot }) => slot);
        return {
          ...one,
          byCall: sums(of, "call"),
          changes: sums(of, "change"),
          net: of.reduce((total, { amount }) => total + amount, 0),
          bars: slots.map(({ key, label }) => ({ label, changes: sums(bySlot.get(key) ?? [], "change") })),
        };
      })
      .sort((a, b) => Math.abs(b.net) - Math.abs(a.net)),
  };
}

/** The words for what a chart shows, for those who do not see it. */
export function inWords(counts, words) {
  return [...counts].map(([name, value]) => `${count(value)} ${words.get(name) ?? name}`).join(", ") || "nothing";
}

/**
 * Adds runs up: totals, bars over time, money per day. Previews sent nothing and count in none of it.
 */

import { count, dateTime, dayKey, daysBetween, hourKey, monthDay, monthName, timeOfDay } from "./format.js";

/** More runs than this are drawn as one bar an hour, a day or a week. */
const MOST_BARS = 60;
/** More days than this are drawn as one bar a month. */
const MOST_DAYS = 120;
const HOUR = 3_600_000;

/** Runs that sent refunds, or would have: no previews, no reconciliations. */
export const sending = (runs) => runs.filter((run) => run.kind === "refunds" && !run.preview);

export const sum = (runs, value) => runs.reduce((total, run) => total + value(run), 0);

/** Adds the numbers of several Maps, name by name. */
export function addUp(maps) {
  const total = new Map();
  for (const map of maps) for (const [name, value] of map) total.set(name, (total.get(name) ?? 0) + value);
  return total;
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
        counts: run.outcomes,
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
  return { label, title: label, counts: addUp(runs.map((run) => run.outcomes)), runs: runs.length };
}

function hoursBetween(first, last) {
  const hours = [];
  for (let time = first.getTime(); ; time += HOUR) {
    const hour = new Date(time);
    hours.push({ key: hourKey(hour), label: `${monthDay(hour)}, ${hourKey(hour).slice(11)}:00` });
    if (hourKey(hour) >= hourKey(last)) return hours;
  }
}

/**
 * What was reversed on each day, or in each month where there are many days, by account and unit: sums of different
 * currencies mean nothing.
 *
 * @returns {{each: string, series: Array<{account: string, unit: string, currency: string|null, total: number,
 *   bars: Array<{label: string, amount: number}>}>}} the largest sum first
 */
export function reversedOverTime(runs) {
  if (!runs.length) return { each: "day", series: [] };
  const ends = runs.map((run) => run.endedAt);
  let slots = daysBetween(new Date(Math.min(...ends)), new Date(Math.max(...ends)));
  const monthly = slots.length > MOST_DAYS;
  const keyOf = (key) => (monthly ? key.slice(0, 7) : key);
  if (monthly) slots = [...new Set(slots.map(({ key }) => keyOf(key)))].map((key) => ({ key, label: monthName(key) }));
  const series = new Map();
  for (const run of runs) {
    for (const [unit, amount] of run.rewards) {
      const key = JSON.stringify([run.account, unit, run.currency]);
      if (!series.has(key)) {
        series.set(key, { account: run.account, unit, currency: run.currency, total: 0, bySlot: new Map() });
      }
      const one = series.get(key);
      const slot = keyOf(dayKey(run.endedAt));
      one.total += amount;
      one.bySlot.set(slot, (one.bySlot.get(slot) ?? 0) + amount);
    }
  }
  return {
    each: monthly ? "month" : "day",
    series: [...series.values()]
      .map(({ bySlot, ...one }) => ({
        ...one,
        bars: slots.map(({ key, label }) => ({ label, amount: bySlot.get(key) ?? 0 })),
      }))
      .sort((a, b) => a.total - b.total),
  };
}

/** The words for what a chart shows, for those who do not see it. */
export function inWords(counts, words) {
  return [...counts].map(([name, value]) => `${count(value)} ${words.get(name) ?? name}`).join(", ") || "nothing";
}

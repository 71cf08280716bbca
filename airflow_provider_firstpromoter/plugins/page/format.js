/**
 * Puts numbers, amounts and times into words, in the reader's language and in the time zone chosen in Airflow.
 */

/** Currencies without minor units, as FirstPromoter takes them; all others have two digits. */
export const ZERO_DECIMAL = new Set("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" "));

/** Airflow's own choice, which its pages keep in the browser; UTC if there is none. */
export const timeZone = (() => {
  try {
    const zone = (localStorage.getItem("timezone") || "UTC").replaceAll('"', "");
    new Intl.DateTimeFormat(undefined, { timeZone: zone });
    return zone;
  } catch {
    return "UTC";
  }
})();

const whole = new Intl.NumberFormat();
export const count = (value) => whole.format(value);
/** `1 run`, `2 runs` */
export const counted = (value, one, several = `${one}s`) => `${count(value)} ${value === 1 ? one : several}`;

/**
 * An amount of minor units as people write it.
 *
 * @param {string|null} currency three letters; null where it is not known, then two decimals and no currency
 */
export function money(minor, currency = null) {
  const code = currency && /^[A-Za-z]{3}$/.test(currency) ? currency.toUpperCase() : null;
  const digits = code && ZERO_DECIMAL.has(code) ? 0 : 2;
  const number = new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })
    .format(minor / 10 ** digits)
    .replace("-", "−");
  return code ? `${number}\u00a0${code}` : number;
}

/** A number and what follows it, such as its currency. */
export const numberAndUnit = (text) => text.split(/[\s\u00a0](.*)/, 2);

/** An amount of minor units in whole units of the currency, as a number. */
export const wholeUnits = (minor, currency) => minor / (ZERO_DECIMAL.has(currency?.toUpperCase()) ? 1 : 100);

/** A sum of rewards: money if the unit is `cash`, else a number of that unit. */
export function reward(amount, unit, currency = null) {
  return unit === "cash" ? money(amount, currency) : `${count(amount).replace("-", "−")} ${unit.replaceAll("_", " ")}`;
}

const times = (options) => new Intl.DateTimeFormat(undefined, { timeZone, ...options });
// One clock everywhere, in the charts too.
const moment = times({ dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const exact = times({ dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const clock = times({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const shortDay = times({ month: "short", day: "numeric" });
const parts = new Intl.DateTimeFormat("en-CA", {
  timeZone,
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  hourCycle: "h23",
});

export const dateTime = (date) => moment.format(date);
export const exactTime = (date) => exact.format(date);
export const timeOfDay = (date) => clock.format(date);
export const monthDay = (date) => shortDay.format(date);

/** `2026-11-25`, in the reader's time zone */
export function dayKey(date) {
  return hourKey(date).slice(0, 10);
}

/** `2026-11-25T14`, likewise */
export function hourKey(date) {
  const found = Object.fromEntries(parts.formatToParts(date).map(({ type, value }) => [type, value]));
  return `${found.year}-${found.month}-${found.day}T${found.hour}`;
}

/** `Nov 2026`, from `2026-11` */
export function monthName(key) {
  const options = { month: "short", year: "numeric", timeZone: "UTC" };
  return new Intl.DateTimeFormat(undefined, options).format(new Date(`${key}-15T12:00Z`));
}

/** The days from the first to the last, as keys and as dates that show well. */
export function daysBetween(first, last) {
  const days = [];
  for (let day = new Date(`${dayKey(first)}T12:00Z`); ; day = new Date(day.getTime() + 86_400_000)) {
    const key = day.toISOString().slice(0, 10);
    days.push({
      key,
      label: new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" }).format(day),
    });
    if (key >= dayKey(last)) return days;
  }
}

/** `3 h 12 min`, `4 min 10 s`, `7.2 s` */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

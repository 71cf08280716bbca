/**
 * Draws the charts as inline SVG, as wide as there is room. Each has its numbers as a table below it, for those who
 * do not see it or want to copy them.
 */

import { el, svg, table } from "./dom.js";
import { count, counted, reward, wholeUnits } from "./format.js";
import { OUTCOMES } from "./summary.js";
import { CHANGES, addUp, inWords } from "./totals.js";

const HEIGHT = 216;
const LOW = 112;
const MARGIN = { top: 10, right: 4, bottom: 24, left: 48 };
/** The least that a value above 0 is drawn with: one failed event beside thousands must be seen. */
const LEAST = 2;
const WIDEST_BAR = 44;

/** Pixels that the text below a bar takes. */
const LABEL = 60;

/** Round numbers that reach from the lowest value, over 0, to the highest: about `steps` of them. */
function ticks(lowest, highest, steps) {
  const rough = Math.max(highest - lowest, 1) / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].find((factor) => factor * power >= rough) * power, 1);
  const [first, last] = [Math.floor(lowest / step), Math.ceil(highest / step)];
  const length = Math.max(last - first, 1) + 1;
  return Array.from({ length }, (_, i) => (first + i) * step);
}

/**
 * The frame that both charts share: grid, labels below the bars, and a tooltip for each bar.
 *
 * @param {Array} bars each with `label`, `title`, `lines` (the tooltip's) and `segments` of `{size, class}`: those above
 *   zero are stacked upwards, those below it downwards
 * @param {function} scaleLabel a number of the scale as text
 */
function barChart({ bars, width, height = HEIGHT, scaleLabel, description }) {
  const stacked = (sign) =>
    Math.max(0, ...bars.map(({ segments }) => segments.reduce((sum, { size }) => sum + Math.max(sign * size, 0), 0)));
  const scale = ticks(-stacked(-1), stacked(1), height < HEIGHT ? 2 : 4);
  const [lowest, top] = [scale[0], scale.at(-1)];
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const y = (value) => MARGIN.top + (inner.height * (top - value)) / (top - lowest);
  const slot = inner.width / bars.length;
  const barWidth = Math.min(slot * (slot > 6 ? 0.72 : 0.9), WIDEST_BAR);
  let nextLabel = 0;

  const grid = scale.map((value) => [
    svg("line", { class: value ? "grid" : "grid zero", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
    svg("text", { class: "axis", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, scaleLabel(value)),
  ]);
  const columns = bars.map((bar, i) => {
    const middle = MARGIN.left + slot * (i + 0.5);
    const labelled = bar.label && middle >= nextLabel;
    if (labelled) nextLabel = middle + LABEL;
    const end = { up: y(0), down: y(0) };
    const rects = bar.segments
      .filter((segment) => segment.size)
      .map((segment) => {
        const tall = Math.max((inner.height * Math.abs(segment.size)) / (top - lowest), LEAST);
        if (segment.size > 0) end.up -= tall;
        else end.down += tall;
        return svg("rect", {
          class: segment.class,
          x: middle - barWidth / 2,
          y: segment.size > 0 ? end.up : end.down - tall,
          width: barWidth,
          height: tall,
        });
      });
    const group = svg(
      "g",
      { class: "bar" },
      // The whole column answers to the pointer, however low the bar is.
      svg("rect", { class: "column", x: MARGIN.left + slot * i, y: MARGIN.top, width: slot, height: inner.height }),
      rects,
      labelled && svg("text", { class: "axis", y: height - 6, ...anchored(middle, width) }, bar.label),
    );
    withTooltip(group, bar);
    return group;
  });
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": description },
    grid,
    columns,
  );
}

/** Where a bar's label stands: below its middle, but never cut off at the end. */
const anchored = (middle, width) =>
  middle + LABEL / 2 > width
    ? { x: width - MARGIN.right, "text-anchor": "end" }
    : { x: middle, "text-anchor": "middle" };

function withTooltip(group, { title, lines }) {
  const tooltip = document.getElementById("tooltip");
  group.addEventListener("pointermove", (event) => {
    tooltip.replaceChildren(
      el("strong", {}, title),
      ...lines.map(({ className, text }) => el("div", {}, className && el("i", { class: `dot ${className}` }), text)),
    );
    tooltip.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = tooltip;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 8);
    const above = event.clientY - height - 14;
    tooltip.style.left = `${Math.max(left, 8)}px`;
    tooltip.style.top = `${above > 8 ? above : event.clientY + 18}px`;
  });
  group.addEventListener("pointerleave", () => {
    tooltip.hidden = true;
  });
}

/** Draws now and whenever the width changes. */
function responsive(draw) {
  const frame = el("div", { class: "chart" });
  let drawn = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width);
    if (!width || width === drawn) return;
    drawn = width;
    frame.replaceChildren(draw(width));
  }).observe(frame);
  return frame;
}

const asTable = (caption, headings, rows) =>
  el("details", { class: "as-table" }, el("summary", {}, "Show as a table"), table(caption, headings, rows));

/**
 * The colour and word of each outcome that occurs, with how many events have it.
 *
 * @param {number} stillOpen those that earlier runs have reported: they are in no bar
 */
export function legend(counts, stillOpen = 0) {
  const names = [...OUTCOMES.keys(), ...[...counts.keys()].filter((name) => !OUTCOMES.has(name))];
  return el(
    "ul",
    { class: "legend" },
    names
      .filter((name) => counts.get(name))
      .map((name) =>
        el(
          "li",
          {},
          el("i", { class: `dot ${outcomeClass(name)}` }),
          OUTCOMES.get(name) ?? name,
          " ",
          el("b", {}, count(counts.get(name))),
        ),
      ),
    stillOpen ? el("li", { class: "muted" }, "still open ", el("b", {}, count(stillOpen))) : null,
  );
}

export const outcomeClass = (name) => `outcome-${OUTCOMES.has(name) ? name : "unknown"}`;

/** An event that is reverted was recorded before: it is drawn below zero. */
const signed = (name, size) => (name === "reverted" ? -size : Math.max(size, 0));

/** Runs over time, as bars stacked by outcome. */
export function outcomesChart({ each, bars }, noun, stillOpen) {
  const total = addUp(bars.map((bar) => bar.counts));
  const names = [...OUTCOMES.keys(), ...[...total.keys()].filter((name) => !OUTCOMES.has(name))].filter((name) =>
    total.get(name),
  );
  const drawn = bars.map((bar) => ({
    label: bar.label,
    title: bar.title,
    segments: names.map((name) => ({ size: signed(name, bar.counts.get(name) ?? 0), class: outcomeClass(name) })),
    lines: [
      ...(each === "run" ? [] : [{ text: counted(bar.runs, "run") }]),
      ...names
        .filter((name) => bar.counts.get(name))
        .map((name) => ({
          className: outcomeClass(name),
          text: `${count(bar.counts.get(name))} ${OUTCOMES.get(name) ?? name}`,
        })),
      ...(bar.counts.size ? [] : [{ text: bar.runs ? `no ${noun}s` : "no runs" }]),
    ],
  }));
  const title = `${capital(noun)}s by outcome`;
  const description = `${title}, a bar for each ${each}: ${inWords(total, OUTCOMES)}.`;
  const scaleLabel = (value) => (value >= 10_000 ? `${count(value / 1000)}k` : count(value));
  return [
    legend(total, stillOpen),
    responsive((width) => barChart({ bars: drawn, width, scaleLabel, description })),
    asTable(
      `${title} over time`,
      [capital(each), ...names.map((name) => OUTCOMES.get(name) ?? name)],
      bars.map((bar) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, bar.title),
          names.map((name) => el("td", { class: "number" }, count(bar.counts.get(name) ?? 0))),
        ),
      ),
    ),
  ];
}

/** By how much the commissions changed over time, in one unit of one account; lower where it stands among several. */
export function moneyChart(each, { unit, currency, changes, net, bars }, low) {
  const words = (amount) => reward(amount, unit, currency);
  const names = [...CHANGES.keys()].filter((name) => changes.has(name));
  const of = (bar, name) => bar.changes.get(name) ?? 0;
  const total = (bar) => names.reduce((sum, name) => sum + of(bar, name), 0);
  const drawn = bars.map((bar) => ({
    label: bar.label,
    title: bar.label,
    lines: [
      ...names
        .filter((name) => of(bar, name))
        .map((name) => ({ className: `change-${name}`, text: `${CHANGES.get(name)} ${words(of(bar, name))}` })),
      { text: bar.changes.size > 1 ? `net ${words(total(bar))}` : bar.changes.size ? "" : "no change" },
    ].filter(({ text }) => text),
    segments: names.map((name) => ({ size: of(bar, name), class: `change-${name}` })),
  }));
  const scaleLabel = (value) => short(unit === "cash" ? wholeUnits(value, currency) : value);
  const columns = names.length > 1 ? [...names, "net"] : names;
  return [
    names.length > 1
      ? el(
          "ul",
          { class: "legend" },
          names.map((name) =>
            el(
              "li",
              {},
              el("i", { class: `dot change-${name}` }),
              `${CHANGES.get(name)} `,
              el("b", {}, words(changes.get(name))),
            ),
          ),
        )
      : null,
    responsive((width) =>
      barChart({
        bars: drawn,
        width,
        height: low ? LOW : HEIGHT,
        scaleLabel,
        description: `Commissions per ${each}: ${names.map((name) => `${CHANGES.get(name)} ${words(changes.get(name))}`).join(", ")}; net ${words(net)}.`,
      }),
    ),
    asTable(
      `Commissions per ${each}`,
      [capital(each), ...columns.map((name) => capital(CHANGES.get(name) ?? name))],
      bars.map((bar) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, bar.label),
          columns.map((name) => el("td", { class: "number" }, words(name === "net" ? total(bar) : of(bar, name)))),
        ),
      ),
    ),
  ].filter(Boolean);
}

export const capital = (word) => word[0].toUpperCase() + word.slice(1);
const short = (value) =>
  new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(value).replace("-", "−");

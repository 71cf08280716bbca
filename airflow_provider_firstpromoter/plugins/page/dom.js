/**
 * Makes elements. Text from Airflow only ever becomes text: nothing here or in the other modules parses HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} node
 * @param {Object} attributes by name; `on...` is a listener, false and null leave the attribute out
 * @param {Array} children nodes and texts; null and false are left out
 */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An HTML element: `el("p", { class: "muted" }, "text", otherElement)`. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, made like {@link el}. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A table with a caption for screen readers and a heading per column. */
export function table(caption, headings, rows, attributes = {}) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    el(
      "table",
      attributes,
      el("caption", { class: "sr-only" }, caption),
      el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading)))),
      el("tbody", {}, rows),
    ),
  );
}

// The comparison, and helpers of all parts that show it.
const COMPARISON = DATA.comparison;
const BASELINE = COMPARISON.settings[0];
const METHODS = [...new Set(COMPARISON.settings.slice(1).map((setting) => setting.method))];

/** The colour of a method; past eight methods colours come again, with other marks. */
const colour = (method) => `var(--line-${METHODS.indexOf(method) % 8})`;

/** The mark of a method, around (x, y): a circle, square, diamond or triangle. */
function mark(method, x, y, attributes = {}) {
  const number = METHODS.indexOf(method);
  const shapes = [
    () => svg("circle", { cx: x, cy: y, r: 5.5 }),
    () => svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }),
    () => svg("path", { d: `M${x} ${y - 7}l7 7l-7 7l-7-7z` }),
    () => svg("path", { d: `M${x} ${y - 6.5}l6.5 11.5h-13z` }),
  ];
  return fill(shapes[(number + Math.floor(number / 8)) % 4](), { fill: colour(method), ...attributes }, []);
}

/** A method's mark by itself, for legends and tables; empty for the baseline. */
function swatch(method) {
  const frame = svg("svg", { class: "swatch", viewBox: "0 0 16 16", "aria-hidden": "true" });
  if (METHODS.includes(method)) frame.append(mark(method, 8, 8));
  return frame;
}

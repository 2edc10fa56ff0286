// The frontier plot: one line per method, fidelity over the transformer's work or over the measured speedup.

const COSTS = {
  work: {
    title: "Compute", of: (setting) => setting.compute_ratio * 100, unit: " %",
    label: "transformer work, as a share of the uncached run's (less is faster)", short: "transformer work (uncached: 100 %)",
  },
  speedup: { title: "Speedup", of: (setting) => setting.speedup, unit: "×", label: "speedup of denoising, measured", short: "speedup, measured" },
};

/** Draw it into `place` at the width that is there; called again when the width or what is shown changes. */
function drawFrontier(place, measure, cost) {
  const width = Math.max(place.clientWidth, 260);
  const height = width < 520 ? 290 : 380;
  const box = { left: 58, right: width - 14, top: 14, bottom: height - 44 };
  const settings = COMPARISON.settings.filter((setting) => setting[measure]);
  const costs = settings.map(cost.of);
  const spreads = settings.map((setting) => setting[measure]);
  const values = spreads.flatMap((one) => [one.mean, one.worst, one.low ?? one.mean, one.high ?? one.mean]);
  const x = scale(costs, box.left, box.right, 0.06);
  const y = scale(values, box.bottom, box.top, 0.06);
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${METRICS[measure].label} over ${cost.title.toLowerCase()}, one point per setting` });
  picture.append(...axes(box, x, y, measure, cost));
  const tip = make("div", { class: "tip", hidden: true });
  for (const method of METHODS) {
    const points = settings.filter((one) => one.method === method).sort((a, b) => cost.of(a) - cost.of(b));
    const path = points.map((one) => `${x.at(cost.of(one))},${y.at(one[measure].mean)}`).join(" ");
    picture.append(svg("polyline", { points: path, fill: "none", stroke: colour(method), "stroke-width": 2, "stroke-linejoin": "round" }));
    for (const one of points) picture.append(...drawPoint(one, x.at(cost.of(one)), y, measure, place, tip));
  }
  place.replaceChildren(picture, tip);
}

/** A linear scale over `values`, with some room, from pixel `start` to pixel `end`. */
function scale(values, start, end, room) {
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * room || Math.abs(high) * 0.05 || 1;
  low -= pad;
  high += pad;
  const steps = [1, 2, 2.5, 5, 10].map((step) => step * 10 ** Math.floor(Math.log10((high - low) / 5)));
  const step = steps.find((one) => (high - low) / one <= (Math.abs(end - start) < 330 ? 5 : 7)) ?? steps[4];
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
  let digits = 0; // that a tick needs behind the point
  while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits++;
  return { at: (value) => start + ((value - low) / (high - low)) * (end - start), ticks, digits };
}

function axes(box, x, y, measure, cost) {
  const parts = [];
  for (const tick of y.ticks) {
    parts.push(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: y.at(tick), y2: y.at(tick) }));
    parts.push(svg("text", { x: box.left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, tick.toFixed(y.digits)));
  }
  parts.push(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  for (const tick of x.ticks) {
    parts.push(svg("line", { class: "axis", x1: x.at(tick), x2: x.at(tick), y1: box.bottom, y2: box.bottom + 5 }));
    parts.push(svg("text", { x: x.at(tick), y: box.bottom + 19, "text-anchor": "middle" }, tick.toFixed(x.digits) + cost.unit));
  }
  const label = `${heading(measure)}, ${METRICS[measure].less_is_better ? "less" : "more"} is better`;
  parts.push(svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, box.right < 500 ? cost.short : cost.label));
  const middle = (box.top + box.bottom) / 2;
  parts.push(svg("text", { x: 12, y: middle, transform: `rotate(-90 12 ${middle})`, "text-anchor": "middle" }, label));
  return parts;
}

/** A point with its interval and its worst case; under the pointer or the focus it tells its numbers. */
function drawPoint(setting, left, y, measure, place, tip) {
  const spread = setting[measure];
  const top = y.at(spread.mean);
  const stroke = { stroke: colour(setting.method), "stroke-width": 1.5, opacity: 0.75 };
  const parts = [];
  if (spread.low !== null) parts.push(svg("line", { x1: left, x2: left, y1: y.at(spread.low), y2: y.at(spread.high), ...stroke }));
  parts.push(svg("line", { x1: left - 4, x2: left + 4, y1: y.at(spread.worst), y2: y.at(spread.worst), ...stroke }));
  const interval = spread.low === null ? "" : ` (${show(measure, spread.low)} to ${show(measure, spread.high)})`;
  const text = `${setting.name}\n${METRICS[measure].label} ${show(measure, spread.mean)}${interval}\nworst ${show(measure, spread.worst)}\n${percent(setting.compute_ratio)} of the work, ${times(setting.speedup, setting.beyond_bound)} faster`;
  if (setting.beyond_bound) parts.push(svg("text", { x: left + 7, y: top - 4 }, "*"));
  const point = mark(setting.method, left, top, { class: "point", tabindex: 0, role: "img", "aria-label": text.replaceAll("\n", ", ") });
  const hide = () => (tip.hidden = true);
  const tell = () => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(left + 12, place.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, top - tip.offsetHeight - 10)}px`;
  };
  point.addEventListener("pointerenter", tell);
  point.addEventListener("focus", tell);
  point.addEventListener("pointerleave", hide);
  point.addEventListener("blur", hide);
  return [...parts, point];
}

/** The buttons that choose the measure, and the legend. */
function setUpFrontier() {
  const place = byId("frontier");
  const measures = Object.keys(METRICS).filter((name) => COMPARISON.settings.some((setting) => setting[name]));
  if (!measures.length) return place.append("Nothing was compared with the baseline.");
  const shown = { measure: measures[0], cost: "work" };
  const draw = () => drawFrontier(place, shown.measure, COSTS[shown.cost]);
  const choose = (what, names, titleOf) => {
    const buttons = names.map((name) => make("button", { type: "button", "aria-pressed": String(name === shown[what]) }, titleOf(name)));
    buttons.forEach((button, i) => {
      button.addEventListener("click", () => {
        shown[what] = names[i];
        buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
        draw();
      });
    });
    return make("div", { class: "choice", role: "group", "aria-label": what === "cost" ? "Over" : "Measure" }, ...buttons);
  };
  byId("measures").append(choose("measure", measures, (name) => METRICS[name].label), "over", choose("cost", Object.keys(COSTS), (name) => COSTS[name].title));
  byId("legend").append(...METHODS.map((method) => make("li", {}, swatch(method), method)));
  draw();
  let drawn = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth !== drawn) {
      drawn = place.clientWidth;
      draw();
    }
  }).observe(place);
}

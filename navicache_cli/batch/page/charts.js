// Bars over an axis: histograms of videos, and frequencies of steps.

const CHART = { width: 360, height: 120, left: 6, right: 354, top: 8, bottom: 96 };

/**
 * Draw bars as a figure.
 * `bars`: of height 0 to 1 each, with the text a pointer gets to read; `ends`: what stands below the first and last.
 */
function drawBars(title, bars, ends, colour) {
  const { width, height, left, right, top, bottom } = CHART;
  const step = (right - left) / bars.length;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${bars.map((bar) => bar.text).join("; ")}` });
  bars.forEach((bar, i) => {
    const size = bar.height * (bottom - top);
    const gap = Math.min(1, step / 8);
    const shape = svg("rect", { x: left + i * step + gap, y: bottom - size, width: step - 2 * gap, height: size, fill: colour });
    // The whole column answers to the pointer: some bars are flat.
    const column = svg("rect", { x: left + i * step, y: top, width: step, height: bottom - top, fill: "transparent" }, svg("title", {}, bar.text));
    picture.append(shape, column);
  });
  picture.append(
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { x: left, y: bottom + 16 }, ends[0]),
    svg("text", { x: right, y: bottom + 16, "text-anchor": "end" }, ends[1]),
  );
  return make("figure", {}, make("figcaption", {}, title), picture);
}

/** Count values in `bins` equal parts of low to high. */
function count(values, low, high, bins) {
  const counts = Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low || 1)) * bins))] += 1;
  return counts;
}

/** A histogram of one setting's values; `low` and `high` are those of all settings, so that they compare. */
function drawHistogram(title, values, low, high, write, colour) {
  const bins = 24;
  const counts = count(values, low, high, bins);
  const most = Math.max(...counts);
  const edge = (i) => write(low + ((high - low) * i) / bins);
  const bars = counts.map((number, i) => ({ height: number / most, text: `${edge(i)} to ${edge(i + 1)}: ${number}` }));
  return drawBars(title, bars, [write(low), write(high)], colour);
}

/** The part of a setting's videos that skipped each step. */
function drawFrequency(title, frequency, colour) {
  const bars = frequency.map((part, i) => ({ height: part, text: `step ${i + 1}: ${percent(part)}` }));
  return drawBars(title, bars, ["step 1", `step ${frequency.length}`], colour);
}

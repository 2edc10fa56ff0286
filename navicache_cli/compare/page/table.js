// The table of settings: the baseline first, then by the work they take, most first.

function setUpTable() {
  const measures = Object.keys(METRICS).filter((name) => COMPARISON.settings.some((setting) => setting[name]));
  const titles = ["Setting", "Compute", "Seconds", "Speedup"];
  for (const name of measures) titles.push(heading(name), "95 % CI", "Worst");
  titles.push("Cache");
  const head = make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title))));
  const others = COMPARISON.settings.slice(1).sort((a, b) => b.compute_ratio - a.compute_ratio);
  const body = make("tbody", {}, ...[BASELINE, ...others].map((setting) => tableRow(setting, measures)));
  byId("settings").append(head, body);
}

function tableRow(setting, measures) {
  const cells = [percent(setting.compute_ratio), setting.denoise_s.toFixed(2), times(setting.speedup, setting.beyond_bound)];
  for (const name of measures) {
    const spread = setting[name], digits = METRICS[name].digits;
    if (!spread) {
      cells.push("–", "–", "–");
      continue;
    }
    const interval = spread.low === null ? "–" : `${spread.low.toFixed(digits)} to ${spread.high.toFixed(digits)}`;
    cells.push(spread.mean.toFixed(digits), interval, spread.worst.toFixed(digits));
  }
  cells.push(setting.cache_bytes ? `${(setting.cache_bytes / 2 ** 20).toFixed(2)} MiB` : "–");
  const name = make("th", { scope: "row" }, swatch(setting.method), setting.name);
  return make("tr", {}, name, ...cells.map((text) => make("td", {}, text)));
}

// The page of a batch: settings, distributions, skip frequencies, and the videos worth a look.

const SUMMARY = DATA.summary;
const MEASURES = {
  skip_ratio: { title: "Skipped steps", write: percent },
  denoise_s: { title: "Denoising", write: (value) => `${value.toFixed(2)} s` },
  speedup: { title: "Speedup", write: times },
};
for (const [name, { label }] of Object.entries(METRICS)) MEASURES[name] = { title: label, write: (value) => show(name, value) };
const WORST = `${METRICS[LEADING].less_is_better ? "Highest" : "Lowest"} ${METRICS[LEADING].label}`;
const LISTS = { slowest: "Slowest", worst: WORST, most_skipped: "Most skipped" };
const BY_NAME = new Map(SUMMARY.videos.map((video) => [video.name, video]));

const colourOf = (setting) => `var(--line-${SUMMARY.settings.findIndex((one) => one.name === setting) % 8})`;
/** Whether a setting or a video has a measure that is beyond its bound. */
const beyond = (name, one) => name === "speedup" && Boolean(one.beyond_bound);
const measured = () => Object.keys(MEASURES).filter((name) => SUMMARY.settings.some((setting) => setting[name]));
/** The address of a file of the batch; names may hold # and %. */
const link = (path) => path.split("/").map(encodeURIComponent).join("/");

/** Buttons of which one is pressed; `show(name)` is called for it, now too. */
function choose(place, titles, show) {
  const names = Object.keys(titles);
  const buttons = names.map((name) => make("button", { type: "button" }, titles[name]));
  const press = (chosen) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
    show(names[chosen]);
  };
  buttons.forEach((button, i) => button.addEventListener("click", () => press(i)));
  place.append(make("div", { class: "choice", role: "group" }, ...buttons));
  press(0);
}

function setUpAbout() {
  const states = Object.entries(SUMMARY.states).map(([state, number]) => `${number} ${state}`);
  byId("about").textContent = [...SUMMARY.models, ...states].join(" · ");
  byId("notes").append(...SUMMARY.notes.map((note) => make("li", {}, note)));
  byId("notes-section").hidden = SUMMARY.notes.length === 0;
}

function setUpTable() {
  const names = measured();
  const titles = ["Setting", "Videos"];
  for (const name of names) titles.push(MEASURES[name].title, "10 %", "90 %", "Minimum", "Maximum");
  const head = make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title))));
  const body = make("tbody", {}, ...SUMMARY.settings.map((setting) => tableRow(setting, names)));
  byId("settings").append(head, body);
}

function tableRow(setting, names) {
  const cells = [String(setting.videos)];
  for (const name of names) {
    const spread = setting[name];
    for (const key of ["mean", "low", "high", "least", "most"]) cells.push(spread ? MEASURES[name].write(spread[key], beyond(name, setting)) : "–");
  }
  const title = make("th", { scope: "row" }, setting.name);
  return make("tr", {}, title, ...cells.map((text) => make("td", {}, text)));
}

function showDistribution(name) {
  const known = SUMMARY.videos.filter((video) => video[name] !== null);
  const values = known.map((video) => video[name]);
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const charts = SUMMARY.settings.filter((setting) => setting[name]).map((setting) => {
    const own = known.filter((video) => video.setting === setting.name).map((video) => video[name]);
    const title = `${setting.name}: median ${MEASURES[name].write(setting[name].median, beyond(name, setting))}`;
    return drawHistogram(title, own, low, high, MEASURES[name].write, colourOf(setting.name));
  });
  byId("distribution").replaceChildren(...charts);
}

function setUpFrequency() {
  byId("frequency").append(...SUMMARY.settings.map((setting) => drawFrequency(setting.name, setting.skip_frequency, colourOf(setting.name))));
}

function showVideos(list) {
  byId("grid").replaceChildren(...SUMMARY[list].map((name) => figure(BY_NAME.get(name))));
}

/** A video with its figures, its links and its steps. */
function figure(video) {
  const numbers = measured().filter((name) => video[name] !== null).map((name) => MEASURES[name].write(video[name], beyond(name, video)));
  const links = [make("a", { href: link(video.video) }, "video"), " ", make("a", { href: link(video.report) }, "report")];
  const strip = makeStrip(video.name, DATA.steps[video.name], (place) => strip.mark(place));
  return make(
    "figure", {},
    make("video", { src: link(video.video), controls: true, muted: true, loop: true, playsinline: true, preload: "metadata", "aria-label": video.prompt }),
    make("figcaption", {}, video.prompt, make("span", { class: "figures" }, `${video.setting}, seed ${video.seed}`),
      make("span", { class: "figures" }, numbers.join(" · ")), make("span", { class: "figures" }, ...links)),
    strip.strip, strip.readout,
  );
}

function setUpFailed() {
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Video"), make("th", { scope: "col" }, "Error")));
  const rows = SUMMARY.failed.map((one) => make("tr", {}, make("th", { scope: "row" }, one.name), make("td", {}, one.error)));
  byId("failed").append(head, make("tbody", {}, ...rows));
  byId("failed-section").hidden = rows.length === 0;
}

setUpAbout();
setUpTable();
choose(byId("measures"), Object.fromEntries(measured().map((name) => [name, MEASURES[name].title])), showDistribution);
setUpFrequency();
choose(byId("lists"), Object.fromEntries(Object.entries(LISTS).filter(([list]) => SUMMARY[list].length)), showVideos);
setUpFailed();

// The page of VBench's scores: a table by group and dimension, and the videos of a dimension by their own scores.

const FOUND = DATA.document;
const AT_ONCE = 12; // videos; browsers allow only so many decoders
const SCORED = FOUND.dimensions.filter((dimension) => FOUND.videos.some((video) => dimension.name in video.scores));
const readable = (name) => name.replaceAll("_", " ");
const percents = (value) => (value === null ? "–" : `${(100 * value).toFixed(2)} %`);

function setUpTable() {
  const titles = ["Dimension", "Score", "Normalised", "Weight", "Videos"];
  const body = make("tbody", {}, groupRow("total", FOUND.totals.total));
  for (const group of ["quality", "semantic"]) {
    const members = FOUND.dimensions.filter((dimension) => dimension.group === group);
    if (members.length) body.append(groupRow(group, FOUND.totals[group]), ...members.map(dimensionRow));
  }
  byId("scores").append(make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)))), body);
}

function groupRow(name, score) {
  const cells = [null, percents(score), null, null].map((text) => make("td", {}, text ?? ""));
  return make("tr", { class: "group" }, make("th", { scope: "row" }, name), ...cells);
}

function dimensionRow(dimension) {
  const name = make("th", { scope: "row" }, readable(dimension.name));
  if (dimension.score === null) return make("tr", {}, name, make("td", { colspan: 4, class: "why" }, dimension.error));
  const part = Math.max(0, Math.min(1, dimension.normalised));
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i", { style: `width: ${100 * part}%` }));
  const cells = [[percents(dimension.score)], [percents(dimension.normalised), bar], [String(dimension.weight)], [String(dimension.videos)]];
  return make("tr", {}, name, ...cells.map((parts) => make("td", {}, ...parts)));
}

/** The videos of one dimension, so many at a time, playing in step. */
class Gallery {
  constructor() {
    this.player = new Player(DATA.fps, (frame) => this.onFrame(frame));
    this.first = 0;
    this.videos = [];
  }

  setUp() {
    byId("dimension").append(...SCORED.map(({ name }) => make("option", { value: name }, readable(name))));
    for (const id of ["dimension", "order"]) byId(id).addEventListener("change", () => this.show(0));
    byId("previous").addEventListener("click", () => this.show(this.first - AT_ONCE));
    byId("next").addEventListener("click", () => this.show(this.first + AT_ONCE));
    byId("play").addEventListener("click", () => (this.player.playing ? this.player.halt() : this.player.play()));
    byId("scrubber").addEventListener("input", (event) => {
      if (this.player.playing) this.player.pause();
      this.player.go(Number(event.target.value));
    });
    return this.show(0);
  }

  /** Show the videos from a place in the order on. */
  async show(first) {
    const dimension = byId("dimension").value;
    const sign = byId("order").value === "worst" ? 1 : -1;
    const all = FOUND.videos.filter((video) => dimension in video.scores).sort((a, b) => sign * (a.scores[dimension] - b.scores[dimension]));
    this.first = Math.max(0, first < all.length ? first : this.first);
    const shown = all.slice(this.first, this.first + AT_ONCE);
    byId("previous").disabled = this.first === 0;
    byId("next").disabled = this.first + AT_ONCE >= all.length;
    byId("shown").textContent = all.length ? `${this.first + 1} to ${this.first + shown.length} of ${all.length}` : "no videos";
    for (const video of this.videos) {
      video.removeAttribute("src"); // frees its decoder
      video.load();
    }
    const figures = shown.map((video) => this.makeFigure(video, dimension));
    this.videos = figures.map((figure) => figure.querySelector("video"));
    byId("grid").replaceChildren(...figures);
    await this.player.take(this.videos);
  }

  makeFigure(found, dimension) {
    const video = make("video", { muted: true, playsinline: true, preload: "auto", "aria-label": found.prompt });
    video.muted = true; // The attribute alone counts for the parser only.
    const missing = make("p", { class: "missing", hidden: true }, `${found.name} cannot be played`);
    video.addEventListener("error", () => (missing.hidden = !video.hasAttribute("src")));
    video.addEventListener("loadedmetadata", () => video.classList.toggle("pixels", video.videoWidth < 200));
    video.src = DATA.links[found.name];
    const score = make("span", { class: "figures" }, found.scores[dimension].toPrecision(4));
    return make("figure", {}, video, missing, make("figcaption", {}, found.name, score));
  }

  onFrame(frame) {
    byId("scrubber").max = this.player.frames() - 1;
    byId("scrubber").value = frame;
    byId("frame").textContent = `${frame + 1} / ${this.player.frames()}`;
    byId("play").textContent = this.player.playing ? "Pause" : "Play";
  }
}

function setUpPage() {
  const prompts = new Set(FOUND.videos.map((video) => video.prompt)).size;
  const facts = [`${FOUND.videos.length} videos of ${prompts} prompts`, `vbench ${FOUND.vbench}`, FOUND.convention];
  if (FOUND.plan) facts.unshift(...["model", "task", "method", "mode"].map((option) => String(FOUND.plan[option].value)));
  byId("about").textContent = facts.join(" · ");
  byId("notes").append(...FOUND.notes.map((note) => make("li", {}, note)));
  byId("notes-section").hidden = FOUND.notes.length === 0;
}

const GALLERY = new Gallery();
setUpPage();
setUpTable();
GALLERY.setUp();

// The page of common metrics: figures over all videos, and the pairs in a table, the least faithful first.

const FOUND = DATA.document;
const TAKEN = Object.keys(METRICS).filter((measure) => FOUND[measure]);
const NAMES = COMPARISON.prompts; // of the videos

/** A button that shows a pair. */
function nameButton(name) {
  const button = make("button", { type: "button", class: "name" }, name);
  button.addEventListener("click", () => {
    VIDEOS.show(NAMES.indexOf(name));
    byId("videos-title").scrollIntoView({ behavior: "smooth" });
  });
  return button;
}

function headRow(...titles) {
  return make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title))));
}

function setUpFigures() {
  const rows = TAKEN.map((measure) => {
    const worst = FOUND.worst[measure];
    const cells = [show(measure, FOUND[measure].mean), show(measure, worst.mean), nameButton(worst.name)];
    const name = make("th", { scope: "row" }, METRICS[measure].label);
    return make("tr", {}, name, ...cells.map((cell) => make("td", {}, cell)));
  });
  byId("figures").append(headRow("Metric", "Mean", "Worst", "of"), make("tbody", {}, ...rows));
}

/** Fill the table of pairs, by one measure. */
function listPairs(by) {
  const sign = METRICS[by].less_is_better ? -1 : 1;
  const names = [...NAMES].sort((a, b) => sign * (FOUND.files[a][by].mean - FOUND.files[b][by].mean));
  const rows = names.map((name) => {
    const cells = TAKEN.map((measure) => make("td", {}, show(measure, FOUND.files[name][measure].mean)));
    return make("tr", {}, make("th", { scope: "row" }, nameButton(name)), ...cells);
  });
  byId("pairs").replaceChildren(headRow("Video", ...TAKEN.map((measure) => METRICS[measure].label)), make("tbody", {}, ...rows));
}

function setUpPairs() {
  const buttons = TAKEN.map((measure) => make("button", { type: "button", "aria-pressed": String(measure === TAKEN[0]) }, METRICS[measure].label));
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => {
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      listPairs(TAKEN[i]);
    });
  });
  byId("order").append("By", make("div", { class: "choice", role: "group", "aria-label": "Measure" }, ...buttons));
  listPairs(TAKEN[0]);
}

function setUpPage() {
  byId("about").textContent = `${NAMES.length} video${NAMES.length === 1 ? "" : "s"} · reference ${FOUND.a} · compared ${FOUND.b} · ${FOUND.convention}`;
  byId("notes").append(...FOUND.notes.map((note) => make("li", {}, note)));
  byId("notes-section").hidden = FOUND.notes.length === 0;
  byId("prompt").closest("label").firstChild.textContent = "Video ";
  byId("seed").closest("label").hidden = true;
}

const VIDEOS = new Videos();
setUpPage();
setUpFigures();
setUpPairs();
VIDEOS.setUp();

// The videos of one prompt and seed: the grid, the wipe between two, and what controls them.

const FPS = COMPARISON.plan.fps.value;
const MOST_SHOWN = 12; // Videos at first; more can be chosen.
const NO_STRIP = { strip: "", readout: "", mark() {} };

class Videos {
  constructor() {
    this.shots = []; // of the prompt and seed on show: {setting, cell, figure, video, strip}
    this.names = COMPARISON.settings.map((setting) => setting.name);
    this.visible = new Set(this.names.slice(0, MOST_SHOWN));
    this.player = new Player(FPS, (frame) => this.onFrame(frame));
    this.places = [];
    COMPARISON.prompts.forEach((_, prompt) => COMPARISON.seeds.forEach((seed) => this.places.push({ prompt, seed })));
    this.place = 0;
  }

  setUp() {
    byId("prompt").append(...COMPARISON.prompts.map((text, i) => make("option", { value: i }, `${i + 1}. ${text}`)));
    byId("seed").append(...COMPARISON.seeds.map((seed) => make("option", { value: seed }, String(seed))));
    const right = this.names[1] ?? this.names[0];
    for (const [id, chosen] of [["left", this.names[0]], ["right", right]]) {
      byId(id).append(...this.names.map((name) => make("option", { value: name, selected: name === chosen }, name)));
      byId(id).addEventListener("change", () => this.load());
    }
    byId("shown").append(...this.names.map((name) => this.makeChoice(name)));
    byId("choice").hidden = this.names.length < 3;
    const find = () => this.show(this.places.findIndex((one) => one.prompt === Number(byId("prompt").value) && String(one.seed) === byId("seed").value));
    byId("prompt").addEventListener("change", find);
    byId("seed").addEventListener("change", find);
    byId("previous").addEventListener("click", () => this.show(this.place - 1));
    byId("next").addEventListener("click", () => this.show(this.place + 1));
    byId("play").addEventListener("click", () => this.toggle());
    byId("speed").addEventListener("change", (event) => {
      this.player.rate = Number(event.target.value);
      if (this.player.playing) this.player.start(this.player.frame);
    });
    byId("scrubber").addEventListener("input", (event) => this.goTo(Number(event.target.value)));
    byId("wipe").addEventListener("input", () => this.drawWipe());
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = byId("stage").getBoundingClientRect();
      byId("wipe").value = ((event.clientX - box.left) / box.width) * 100;
      this.drawWipe();
    };
    byId("stage").addEventListener("pointerdown", drag);
    byId("stage").addEventListener("pointermove", drag);
    document.addEventListener("keydown", (event) => this.onKey(event));
    return this.show(0);
  }

  makeChoice(name) {
    const box = make("input", { type: "checkbox", checked: this.visible.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) this.visible.add(name);
      else this.visible.delete(name);
      this.load();
    });
    return make("label", {}, box, name);
  }

  /** Show a prompt and seed, by their place in the list of all. */
  show(place) {
    this.place = (place + this.places.length) % this.places.length;
    const { prompt, seed } = this.places[this.place];
    byId("prompt").value = prompt;
    byId("seed").value = seed;
    return this.load();
  }

  /** Load the videos of the prompt and seed on show, of the settings shown and the two of the wipe. */
  async load() {
    const { prompt, seed } = this.places[this.place];
    for (const shot of this.shots) release(shot.video);
    const wiped = [byId("left").value, byId("right").value];
    const wanted = this.names.filter((name) => this.visible.has(name) || wiped.includes(name));
    this.shots = COMPARISON.cells
      .filter((cell) => cell.prompt === prompt && cell.seed === seed && wanted.includes(cell.setting))
      .sort((a, b) => this.names.indexOf(a.setting) - this.names.indexOf(b.setting))
      .map((cell) => this.makeShot(cell));
    byId("grid").replaceChildren(...this.shots.map((shot) => shot.figure));
    byId("left-tag").textContent = wiped[0];
    byId("right-tag").textContent = wiped[1];
    byId("canvas").setAttribute("aria-label", `${wiped[0]} on the left of the divider, ${wiped[1]} on the right`);
    await this.player.take(this.shots.map((shot) => shot.video));
  }

  makeShot(cell) {
    const video = make("video", { muted: true, playsinline: true, preload: "auto", "aria-label": `${cell.setting}: ${COMPARISON.prompts[cell.prompt]}` });
    video.muted = true; // The attribute alone counts for the parser only.
    const missing = make("p", { class: "missing", hidden: true }, `${cell.video} cannot be played`);
    video.addEventListener("error", () => (missing.hidden = false));
    video.addEventListener("loadedmetadata", () => video.classList.toggle("pixels", video.videoWidth < 200));
    video.src = cell.video;
    // A seek may be over before its picture is there; the wipe is drawn again when it is.
    const redraw = () => {
      this.drawWipe();
      video.requestVideoFrameCallback?.(redraw);
    };
    video.requestVideoFrameCallback?.(redraw);
    const steps = DATA.steps?.[cell.key]; // Videos of another program come without.
    const strip = steps ? makeStrip(cell.setting, steps, (place) => this.shots.forEach((shot) => shot.strip.mark(place))) : NO_STRIP;
    const numbers = steps ? [percent(cell.compute_ratio), times(cell.speedup, cell.beyond_bound)] : [];
    for (const metric of Object.keys(METRICS)) {
      if (cell[metric] !== null) numbers.push(`${METRICS[metric].label} ${cell[metric].toFixed(METRICS[metric].digits)}`);
    }
    const method = COMPARISON.settings.find((setting) => setting.name === cell.setting).method;
    const title = [...(METHODS.includes(method) ? [swatch(method)] : []), cell.setting];
    const caption = make("figcaption", {}, ...title, make("span", { class: "figures" }, numbers.join(" · ")));
    const figure = make("figure", { hidden: !this.visible.has(cell.setting) }, video, missing, caption, strip.strip, strip.readout);
    return { cell, figure, video, strip };
  }

  toggle() {
    return this.player.playing ? this.player.halt() : this.player.play();
  }

  goTo(frame) {
    if (this.player.playing) this.player.pause();
    return this.player.go(frame);
  }

  onFrame(frame) {
    const count = this.player.frames();
    byId("scrubber").max = count - 1;
    byId("scrubber").value = frame;
    byId("frame").textContent = `${frame + 1} / ${count}`;
    byId("play").textContent = this.player.playing ? "Pause" : "Play";
    this.drawWipe();
  }

  /** Draw the two videos of the wipe, left and right of the divider, from the ones that play in the grid. */
  drawWipe() {
    const part = Number(byId("wipe").value) / 100;
    byId("divider").style.left = `${part * 100}%`;
    const [left, right] = ["left", "right"].map((id) => this.shots.find((shot) => shot.cell.setting === byId(id).value)?.video);
    if (!left || !right || left.readyState < 2 || right.readyState < 2) return;
    const canvas = byId("canvas"), width = left.videoWidth, height = left.videoHeight;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.classList.toggle("pixels", width < 200);
    const context = canvas.getContext("2d");
    context.drawImage(right, 0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(0, 0, width * part, height);
    context.clip();
    context.drawImage(left, 0, 0, width, height);
    context.restore();
  }

  onKey(event) {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || (at instanceof Element && at.closest("input, select, textarea"))) return;
    const onButton = at instanceof Element && at.closest("button, summary");
    const actions = {
      ArrowLeft: () => this.goTo(this.player.frame - 1),
      ArrowRight: () => this.goTo(this.player.frame + 1),
      Home: () => this.goTo(0),
      n: () => this.show(this.place + 1),
      p: () => this.show(this.place - 1),
      ...(onButton ? {} : { " ": () => this.toggle() }),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

/** Free a video that is no longer shown: browsers allow only so many decoders. */
function release(video) {
  video.pause();
  video.removeAttribute("src");
  video.load();
}

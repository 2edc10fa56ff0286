// Puts the page together.

function setUpAbout() {
  const { model, plan, machine, prompts, seeds } = COMPARISON;
  const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  const facts = [
    model.name, `${plan.steps.value} steps`, `${plan.frames.value} frames of ${plan.size.value}`,
    `guidance ${plan.guidance.value}`, `${count(prompts.length, "prompt")} × ${count(seeds.length, "seed")}`, String(machine.device),
  ];
  byId("about").textContent = facts.join(" · ");
  byId("reused-key").hidden = !Object.values(DATA.steps).some((steps) => steps.reused.some(Boolean));
  byId("notes").append(...COMPARISON.notes.map((note) => make("li", {}, note)));
  byId("notes-section").hidden = COMPARISON.notes.length === 0;
}

setUpAbout();
setUpFrontier();
setUpTable();
const VIDEOS = new Videos();
VIDEOS.setUp();

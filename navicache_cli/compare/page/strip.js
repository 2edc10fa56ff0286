// The strip of steps under a video, with a cursor that all strips share.

/**
 * Make the strip of one cell and the line that says what happened at the step under the cursor.
 * `onCursor(place)` is told where the cursor is, from 0 (first step) to 1, or null; `strip.mark(place)` draws it.
 * As it is relative, it stands at the same time of the denoising in runs with fewer steps.
 */
function makeStrip(name, steps, onCursor) {
  const count = steps.computed.length;
  const kind = (i) => (!steps.computed[i] ? "" : steps.reused[i] ? " reused" : steps.forced[i] ? " forced" : " computed");
  const cells = steps.computed.map((_, i) => make("span", { class: `step${kind(i)}` }));
  const computed = steps.computed.filter(Boolean).length;
  const strip = make("div", {
    class: `strip${count > 30 ? " dense" : ""}`, tabindex: 0, role: "slider", "aria-label": `Steps of ${name}, ${computed} of ${count} computed`,
    "aria-valuemin": 1, "aria-valuemax": count, "aria-valuenow": 1, "aria-valuetext": describeStep(steps, 0),
  }, ...cells);
  const readout = make("p", { class: "readout" }, `${computed} of ${count} steps computed`);
  let here = -1;

  const put = (step) => onCursor(step === null ? null : (Math.max(0, Math.min(step, count - 1)) + 0.5) / count);
  strip.addEventListener("pointermove", (event) => {
    const box = strip.getBoundingClientRect();
    put(Math.floor(((event.clientX - box.left) / box.width) * count));
  });
  strip.addEventListener("pointerleave", () => put(null));
  strip.addEventListener("blur", () => put(null));
  strip.addEventListener("focus", () => put(Math.max(here, 0)));
  strip.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: here - 1, ArrowDown: here - 1, ArrowRight: here + 1, ArrowUp: here + 1, Home: 0, End: count - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation(); // The page moves the videos with these keys.
    put(moves[event.key]);
  });
  const markPlace = (place) => {
    if (here >= 0) cells[here].classList.remove("here");
    here = place === null ? -1 : Math.min(count - 1, Math.floor(place * count));
    readout.textContent = here < 0 ? `${computed} of ${count} steps computed` : describeStep(steps, here);
    if (here < 0) return;
    cells[here].classList.add("here");
    strip.setAttribute("aria-valuenow", here + 1);
    strip.setAttribute("aria-valuetext", readout.textContent);
  };
  return { strip, readout, mark: markPlace };
}

/** One step in words. */
function describeStep(steps, i) {
  const did = !steps.computed[i] ? "predicted" : steps.forced[i] ? "computed, forced" : "computed";
  const parts = [`step ${i + 1}: ${did}`];
  if (steps.ratio[i] !== null) parts.push(`ratio ${steps.ratio[i].toFixed(3)}`);
  if (steps.reused[i]) parts.push(`outputs of ${steps.reused[i]} attention reused`);
  const limit = steps.threshold === null ? "" : ` of ${steps.threshold}`;
  if (steps.error[i] !== null && !steps.forced[i]) parts.push(`error ${steps.error[i].toPrecision(3)}${limit}`);
  return parts.join(", ");
}

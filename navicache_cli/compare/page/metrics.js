// The metrics, from the program's own table: label, unit, digits, and whether less is better.
const METRICS = DATA.metrics;
const LEADING = Object.keys(METRICS ?? {})[0]; // by which videos are ranked

/** A value with its unit. */
const show = (metric, value) => `${value.toFixed(METRICS[metric].digits)} ${METRICS[metric].unit}`.trim();

/** A metric's label with its unit, for headings. */
const heading = (metric) => METRICS[metric].label + (METRICS[metric].unit && ` (${METRICS[metric].unit})`);

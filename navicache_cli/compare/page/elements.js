"use strict";
// Data of the page, and helpers that all pages share. Text reaches a page as text only, never as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);

const byId = (id) => document.getElementById(id);

/** Make an element; children are elements or text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const percent = (ratio) => `${Math.round(ratio * 100)} %`;
/** A speedup, with a mark where it is beyond its bound; the notes say what that means. */
const times = (speedup, beyond) => `${speedup.toFixed(2)}×${beyond ? "*" : ""}`;

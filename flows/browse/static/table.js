"use strict";
// The table of segments: histograms to filter by, and completion of column names in the condition. htmx replaces the page's
// main part when a filter is sent, so events are taken where they arrive: at the document.

// ---- histograms: drag over one to choose a part, click to choose all again
let brushed = null; // the field, and where the drag began
const brushOf = (event) => event.target.closest?.("fieldset[data-low] svg");
const shareAt = (svg, event) => {
  const box = svg.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
};
function showBrush(svg, one, other) {
  const brush = svg.querySelector(".brush"), left = Math.min(one, other);
  brush.setAttribute("x", left * 160);
  brush.setAttribute("width", Math.abs(one - other) * 160);
}
document.addEventListener("pointerdown", (event) => {
  const svg = brushOf(event);
  if (!svg) return;
  brushed = { svg, start: shareAt(svg, event) };
  svg.setPointerCapture(event.pointerId);
});
document.addEventListener("pointermove", (event) => { if (brushed) showBrush(brushed.svg, brushed.start, shareAt(brushed.svg, event)); });
document.addEventListener("pointercancel", () => { if (brushed) showBrush(brushed.svg, 0, 0); brushed = null; });
document.addEventListener("pointerup", (event) => {
  if (!brushed) return;
  const { svg, start } = brushed, end = shareAt(svg, event), field = svg.closest("fieldset");
  brushed = null;
  const low = Number(field.dataset.low), high = Number(field.dataset.high), [from, to] = field.querySelectorAll("input");
  const chosen = Math.abs(end - start) < 1 / 80 ? ["", ""] : [Math.min(start, end), Math.max(start, end)].map((share) => (low + (high - low) * share).toPrecision(4));
  [from.value, to.value] = chosen;
  field.form.requestSubmit();
});

// ---- selects filter at once
document.addEventListener("change", (event) => { if (event.target.matches?.("#filter select")) event.target.form.requestSubmit(); });

// ---- the condition: names of columns that begin or go on like the word at the cursor
const wordAt = (input) => {
  const before = input.value.slice(0, input.selectionStart);
  return /[A-Za-z_][A-Za-z0-9_]*$/.exec(before)?.[0] ?? "";
};
function complete(input) {
  const list = document.getElementById("names"), word = wordAt(input).toLowerCase();
  const names = JSON.parse(input.dataset.names);
  const found = word ? [...names.filter((name) => name.startsWith(word)), ...names.filter((name) => name.indexOf(word) > 0)].filter((name) => name !== word).slice(0, 8) : [];
  list.replaceChildren(...found.map((name, at) => {
    const option = document.createElement("span");
    [option.id, option.textContent] = [`name-${at}`, name];
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    return option;
  }));
  list.hidden = !found.length;
  input.setAttribute("aria-expanded", String(!list.hidden));
  input.removeAttribute("aria-activedescendant");
}
function choose(input, name) {
  const end = input.selectionStart, start = end - wordAt(input).length;
  input.setRangeText(name, start, end, "end");
  close(input);
  input.focus();
}
function close(input) {
  document.getElementById("names").hidden = true;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}
document.addEventListener("input", (event) => { if (event.target.id === "where") complete(event.target); });
document.addEventListener("focusout", (event) => { if (event.target.id === "where") close(event.target); });
document.addEventListener("pointerdown", (event) => {
  const option = event.target.closest?.("#names [role=option]");
  if (!option) return;
  event.preventDefault();
  choose(document.getElementById("where"), option.textContent);
});
document.addEventListener("keydown", (event) => {
  if (event.target.id !== "where" || document.getElementById("names").hidden) return;
  const options = [...document.querySelectorAll("#names [role=option]")];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const place = event.key === "ArrowDown" ? at + 1 : Math.max(at, 0) - 1;
    const next = options[(place + options.length) % options.length];
    options.forEach((option) => option.setAttribute("aria-selected", String(option === next)));
    event.target.setAttribute("aria-activedescendant", next.id);
    event.preventDefault();
  } else if ((event.key === "Enter" && at >= 0) || event.key === "Tab") {
    choose(event.target, options[Math.max(at, 0)].textContent);
    event.preventDefault();
  } else if (event.key === "Escape") close(event.target);
});

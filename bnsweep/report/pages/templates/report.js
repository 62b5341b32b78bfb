"use strict";
// Tables of class "sort" sort by a click on a heading; the ranking can be filtered. Without this script both are plain.

function key(row, column) {
  const cell = row.cells[column];
  const number = cell.dataset.value;
  if (number !== undefined) return number === "" ? null : Number(number);
  return cell.textContent === "–" ? null : cell.textContent;
}

// Missing numbers stay last in both directions; equal rows keep the order in which the page came.
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  return down ? -order : order;
}

function sortBy(table, heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).filter((row) => !row.classList.contains("more"));
  const more = Array.from(body.rows).filter((row) => row.classList.contains("more"));
  const keyed = rows.map((row) => [key(row, heading.cellIndex), Number(row.dataset.place), row]);
  keyed.sort((a, b) => compare(a[0], b[0], down) || a[1] - b[1]);
  body.append(...keyed.map((entry) => entry[2]), ...more);
}

for (const table of document.querySelectorAll("table.sort")) {
  Array.from(table.tBodies[0].rows).forEach((row, place) => { row.dataset.place = place; });
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, heading));
  }
}

const controls = document.getElementById("filter");
if (controls) {
  const rows = Array.from(document.querySelector("#arms table").tBodies[0].rows);
  const count = controls.querySelector("output");
  const show = () => {
    const words = controls.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Array.from(controls.querySelectorAll("select")).filter((select) => select.value !== "");
    let shown = 0;
    for (const row of rows) {
      if (row.classList.contains("more")) continue;
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word))
        || !chosen.every((select) => row.getAttribute("data-f" + select.dataset.factor) === select.value);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown + " shown";
  };
  controls.hidden = false;
  controls.addEventListener("input", show);
  show();
}

// A command is copied as it stands, the sentence of a claim together with the claim and its verdict.
for (const place of document.querySelectorAll(".copy")) {
  const source = place.firstElementChild;
  const before = place.dataset.before;
  const text = before === undefined ? source.textContent : before + source.textContent.replaceAll("\u00a0", " ");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  });
  place.append(button);
}

// A table lies in the page as gzip; it is saved as it was.
for (const link of "DecompressionStream" in window ? document.querySelectorAll("a.download") : []) {
  link.addEventListener("click", async (event) => {
    if (!link.href.startsWith("data:")) return;
    event.preventDefault();
    const packed = Uint8Array.from(atob(link.href.split(",")[1]), (letter) => letter.charCodeAt(0));
    const table = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    link.href = URL.createObjectURL(await new Response(table).blob());
    link.download = link.download.replace(/\.gz$/, "");
    link.click();
  });
}

// Where there is more to the right, a word says so.
const wider = new ResizeObserver((entries) => {
  for (const { target } of entries) target.classList.toggle("wider", target.scrollWidth > target.clientWidth + 1);
});
for (const place of document.querySelectorAll(".scroll")) wider.observe(place);

for (const link of document.querySelectorAll('a[href="#basics"]')) {
  link.addEventListener("click", () => { document.getElementById("basics").open = true; });
}

// A printed page has no folds to open.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.runs, .twin)")) fold.open = true;
});

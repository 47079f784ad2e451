"use strict";
// Sorts a table by the column whose heading is clicked: numbers by value, the rest by its letters.
const read = (row, place) => row.cells[place].textContent.trim();
function sort(heading) {
  const body = heading.closest("table").tBodies[0], place = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const compare = (a, b) => {
    const [x, y] = [read(a, place), read(b, place)];
    if (!x || !y) return !x - !y; // what has no figure comes last
    const [m, n] = [parseFloat(x), parseFloat(y)];
    const order = isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n;
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}
for (const heading of document.querySelectorAll("table.sortable th")) {
  heading.setAttribute("aria-sort", "none");
  heading.tabIndex = 0;
  heading.addEventListener("click", () => sort(heading));
  heading.addEventListener("keydown", (event) => {
    if (event.key === "Enter") sort(heading);
  });
}

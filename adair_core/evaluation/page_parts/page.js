"use strict";

// Pictures of a row share one view: scale, and the shift of the left upper corner in shares of a picture's side.
for (const example of document.querySelectorAll(".example")) {
  const panels = example.querySelector(".panels");
  const views = [...panels.querySelectorAll(".view")];
  const view = { scale: 1, x: 0, y: 0 };
  const pointers = new Map();

  function show() {
    view.scale = Math.min(16, Math.max(1, view.scale));
    for (const axis of ["x", "y"]) view[axis] = Math.min(0, Math.max(1 - view.scale, view[axis]));
    panels.classList.toggle("zoomed", view.scale > 1);
    for (const each of views) {
      each.firstElementChild.style.transform =
        `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.scale})`;
    }
  }

  // Once somebody zooms, a finger moves the pictures; before, it scrolls the page.
  function hold() { panels.classList.toggle("held", view.scale > 1); }

  // Keeps the point (x, y), in shares of a picture, where it is.
  function zoom(factor, x = 0.5, y = 0.5) {
    const before = view.scale;
    view.scale = Math.min(16, Math.max(1, before * factor));
    view.x = x - (x - view.x) * view.scale / before;
    view.y = y - (y - view.y) * view.scale / before;
    show();
    hold();
  }

  function move(x, y) { view.x += x; view.y += y; show(); }
  function reset() { view.scale = 1; show(); hold(); }

  function place(event) {
    const box = (event.target.closest(".view") || views[0]).getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height, box };
  }

  view.scale = Number(example.dataset.zoom);
  view.x = 0.5 - view.scale * Number(example.dataset.x);
  view.y = 0.5 - view.scale * Number(example.dataset.y);
  show();

  const controls = example.querySelector(".zoom");
  controls.hidden = false;
  for (const button of controls.querySelectorAll("button")) {
    const factor = Number(button.dataset.zoom);
    button.addEventListener("click", () => factor ? zoom(factor) : reset());
  }
  panels.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const at = place(event);
    zoom(Math.exp(-event.deltaY / 300), at.x, at.y);
  }, { passive: false });
  panels.addEventListener("dblclick", event => { const at = place(event); zoom(2, at.x, at.y); });
  panels.addEventListener("keydown", event => {
    const step = 0.1;
    const keys = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": reset,
      ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
      ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || (view.scale === 1 && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    act();
  });

  panels.addEventListener("pointerdown", event => {
    if (!event.target.closest(".view")) return;
    pointers.set(event.pointerId, event);
    event.target.setPointerCapture(event.pointerId);
  });
  panels.addEventListener("pointermove", event => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const at = place(event);
    if (pointers.size === 1) {
      if (view.scale > 1) move((event.clientX - last.clientX) / at.box.width, (event.clientY - last.clientY) / at.box.height);
    } else {
      const other = [...pointers.values()].find(each => each.pointerId !== event.pointerId);
      const distance = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      zoom(distance(event) / distance(last), at.x, at.y);
    }
    pointers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    panels.addEventListener(kind, event => pointers.delete(event.pointerId));
  }
}

// Tables are sorted by a click on a heading: numbers by value, what has none at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.addEventListener("click", () => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const each of headings) each.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const numbers = heading.classList.contains("number");
    const key = row => row.cells[column].dataset.key;
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [key(one), key(two)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numbers ? Number(a) - Number(b) || 0 : a.localeCompare(b, undefined, { numeric: true });
      return descending ? -order : order;
    });
    body.append(...rows);
  }));
}

const save = document.getElementById("save");
save.hidden = false;
save.addEventListener("click", () => {
  const text = document.getElementById("data").textContent;
  const link = document.createElement("a");
  link.href = "data:application/json;charset=utf-8," + encodeURIComponent(text);
  link.download = "report.json";
  link.click();
});

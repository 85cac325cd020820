"use strict";

function clock(seconds) {
  const tenths = Math.round(Math.abs(seconds) * 10);
  const hours = Math.floor(tenths / 36000);
  const minutes = Math.floor(tenths / 600) % 60;
  const rest = (Math.floor(tenths / 10) % 60).toString().padStart(2, "0") + "." + (tenths % 10);
  const head = hours ? hours + ":" + minutes.toString().padStart(2, "0") : String(minutes);
  return (seconds < 0 && tenths ? "−" : "") + head + ":" + rest;
}

function score(value) {
  return value === 0 || Math.abs(value) >= 0.1 ? value.toFixed(2) : String(Number(value.toPrecision(3)));
}

/* Filters and order of the tracks */

const controls = document.querySelector(".controls");
if (controls) {
  const form = controls.querySelector("form");
  const home = document.getElementById("tracks");
  const tracks = Array.from(home.children, (node) => ({
    node,
    start: Number(node.dataset.start),
    end: Number(node.dataset.end),
    length: Number(node.dataset.length),
    score: Number(node.dataset.score),
  }));
  const orders = {
    start: (a, b) => a.start - b.start,
    score: (a, b) => b.score - a.score,
    length: (a, b) => b.length - a.length,
  };
  const passes = {
    score: (track, value) => track.score >= value,
    length: (track, value) => track.length >= value,
    from: (track, value) => track.end >= value,
    until: (track, value) => track.start <= value,
  };
  const says = { score, length: (value) => value.toFixed(1) + " s", from: clock, until: clock };
  const ranges = Array.from(form.querySelectorAll("input[type=range]"));

  const filter = () => {
    // a slider that was not moved filters nothing, however its ends were rounded
    const moved = ranges.filter((range) => range.value !== range.defaultValue);
    let shown = 0;
    for (const track of tracks) {
      const visible = moved.every((range) => passes[range.name](track, range.valueAsNumber));
      track.node.hidden = !visible;
      shown += visible;
    }
    for (const range of ranges) {
      const text = says[range.name](range.valueAsNumber);
      range.closest("label").querySelector("output").value = text;
      range.setAttribute("aria-valuetext", text);
    }
    form.elements.shown.value =
      shown === tracks.length ? "All " + tracks.length + " tracks" : shown + " of " + tracks.length + " tracks";
    form.querySelector("button").hidden = moved.length === 0;
    document.querySelector(".nothing").hidden = shown > 0;
  };
  const sort = () => {
    tracks.sort(orders[form.elements.sort.value]);
    home.append(...tracks.map((track) => track.node));
  };

  for (const range of ranges) {
    range.defaultValue = range.value; // as the browser has rounded it
  }
  form.addEventListener("input", filter);
  form.elements.sort.addEventListener("change", sort);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", () => {
    form.reset();
    filter();
    sort();
  });
  controls.open = matchMedia("(min-width: 52rem)").matches;
  controls.hidden = false;
  filter();
}

/* The plots: a cursor that follows pointer, touch or arrow keys from candidate to candidate */

const plots = new WeakMap();

function opened(plot) {
  if (!plots.has(plot)) {
    const points = JSON.parse(plot.dataset.points);
    plots.set(plot, { points, at: Number(plot.getAttribute("aria-valuenow")) - 1 });
  }
  return plots.get(plot);
}

function light(plot, rank) {
  const track = plot.closest(".track");
  for (const node of track.querySelectorAll("[data-rank]")) {
    node.classList.toggle("lit", node.dataset.rank === String(rank));
  }
}

function show(plot, index) {
  const state = opened(plot);
  const { points } = state;
  state.at = Math.max(0, Math.min(points.length - 1, index));
  const [time, value, fate] = points[state.at];
  const first = points[0][0];
  const x = ((time - first) / (points[points.length - 1][0] - first)) * 1000;
  plot.querySelector(".cursor").setAttribute("d", "M" + x + " 0V400");
  const kept = typeof fate === "number";
  const text = clock(time) + " · " + score(value) + " · " + (kept ? "kept as number " + fate : fate);
  plot.parentElement.querySelector(".readout").value = text;
  plot.setAttribute("aria-valuenow", state.at + 1);
  plot.setAttribute("aria-valuetext", text);
  light(plot, kept ? fate : null);
}

function leave(plot) {
  plot.querySelector(".cursor").setAttribute("d", "");
  plot.parentElement.querySelector(".readout").value = "";
  light(plot, null);
}

function follow(event) {
  const plot = event.target.closest(".plot");
  if (!plot) return;
  const { points } = opened(plot);
  const box = plot.querySelector("svg").getBoundingClientRect();
  const share = (event.clientX - box.left) / box.width;
  const first = points[0][0];
  const time = first + share * (points[points.length - 1][0] - first);
  let nearest = 0;
  points.forEach((point, i) => {
    if (Math.abs(point[0] - time) < Math.abs(points[nearest][0] - time)) nearest = i;
  });
  show(plot, nearest);
}

document.addEventListener("pointermove", follow);
document.addEventListener("pointerdown", follow);
document.addEventListener("pointerout", (event) => {
  const plot = event.target.closest(".plot");
  if (plot && event.pointerType === "mouse" && !plot.contains(event.relatedTarget)) leave(plot);
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches(".plot")) leave(event.target);
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches(".plot")) return;
  const { at, points } = opened(event.target);
  const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: points.length - 1 };
  if (!(event.key in to)) return;
  event.preventDefault();
  show(event.target, to[event.key]);
});

/* A picture under the pointer or with the focus shows its place in the plot */

for (const [kind, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(kind, (event) => {
    const figure = event.target.closest(".track figure");
    const plot = figure && figure.closest(".track").querySelector(".plot");
    if (!plot) return;
    for (const mark of plot.querySelectorAll(".mark")) {
      mark.classList.toggle("lit", on && mark.dataset.rank === figure.dataset.rank);
    }
  });
}

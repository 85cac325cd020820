"use strict";

const BATCH = 60;

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

/* A list whose later entries are text in the page until they come into view */

class Shelf {
  constructor(home, more) {
    this.home = home;
    this.more = more;
    this.entries = [];
    for (const node of Array.from(home.children)) {
      const entry = { node: null, text: null, detail: null, order: this.entries.length };
      if (node.localName !== "script") entry.node = node;
      else if (node.dataset.tracks === undefined) {
        this.entries[this.entries.length - 1].detail = node;
        node.remove();
        continue;
      } else entry.text = node;
      const { start, end, length, score, tracks, reasons } = node.dataset;
      entry.tracks = tracks.split(" ").map((pair) => pair.split(":"));
      entry.reasons = reasons.split(" ");
      entry.id = node.id;
      Object.assign(entry, { start: +start, end: +end, length: +length, score: +score });
      this.entries.push(entry);
    }
    this.first = Math.max(BATCH, this.entries.filter((entry) => entry.node).length);
    this.made = () => {};
    more.addEventListener("click", () => this.fill(BATCH));
    new IntersectionObserver(
      (seen) => seen.some((one) => one.isIntersecting) && this.fill(BATCH),
      { rootMargin: "1200px" },
    ).observe(more);
  }

  show(passes, order) {
    this.shown = this.entries.filter(passes).sort(order);
    this.filled = 0;
    this.home.replaceChildren();
    this.fill(this.first);
  }

  fill(number) {
    const next = this.shown.slice(this.filled, this.filled + number);
    this.home.append(...next.map((entry) => this.node(entry)));
    this.filled += next.length;
    this.more.hidden = this.filled >= this.shown.length;
  }

  node(entry) {
    if (!entry.node) {
      entry.node = document.createElement(this.home.localName === "tbody" ? "tr" : "article");
      entry.node.className = entry.text.className;
      entry.node.id = entry.id;
      entry.node.innerHTML = entry.text.textContent;
      entry.text = null;
    }
    if (!entry.ready) {
      entry.ready = true;
      this.made(entry);
    }
    return entry.node;
  }
}

const cards = new Shelf(document.getElementById("cards"), document.querySelector("main > .more"));
const rows = new Shelf(document.getElementById("rows"), document.querySelector(".unkept > .more"));
const controls = document.querySelector(".controls");

/* Tiles that open */

const opener = new WeakMap();
const small = matchMedia("(max-width: 40rem)"); // where many bars come folded

function open(entry, on) {
  if (on && entry.detail) {
    const detail = document.createElement("div");
    detail.className = "detail";
    detail.innerHTML = entry.detail.textContent;
    entry.node.append(detail);
    entry.detail = null;
  }
  const quality = entry.node.querySelector(".quality");
  if (quality && !entry.looked) {
    entry.looked = true;
    if (small.matches) quality.open = quality.querySelectorAll("dt").length <= 6;
  }
  entry.node.classList.toggle("open", on);
  entry.node.querySelector("h2 button").setAttribute("aria-expanded", on);
  entry.node.querySelector(".best a").tabIndex = on ? 0 : -1;
}

cards.made = (entry) => {
  const title = entry.node.querySelector("h2");
  const button = document.createElement("button");
  button.type = "button";
  button.append(...title.childNodes);
  title.append(button);
  opener.set(entry.node, entry);
  open(entry, !document.body.classList.contains("tiles"));
};

document.addEventListener("click", (event) => {
  const node = event.target.closest(".card");
  if (!node || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const entry = opener.get(node);
  const closed = !node.classList.contains("open");
  if (event.target.closest("h2 button")) open(entry, closed);
  else if (closed && document.body.classList.contains("tiles")) {
    event.preventDefault();
    open(entry, true);
  }
});
document.addEventListener("keydown", (event) => {
  const node = event.key === "Escape" && document.body.classList.contains("tiles") && event.target.closest(".card.open");
  if (!node) return;
  open(opener.get(node), false);
  node.querySelector("h2 button").focus();
});

function view(tiles) {
  document.body.classList.toggle("tiles", tiles);
  for (const entry of cards.entries) {
    if (entry.ready) open(entry, !tiles);
  }
}

function follow_hash() {
  const id = decodeURIComponent(location.hash.slice(1));
  const at = id ? cards.shown.findIndex((entry) => entry.id === id) : -1;
  if (at < 0) return;
  if (at >= cards.filled) cards.fill(at + BATCH - cards.filled);
  const entry = cards.shown[at];
  open(entry, true);
  entry.node.scrollIntoView();
}

/* Search, order and filters */

const every = () => true;
const as_listed = (a, b) => a.order - b.order;
const orders = {
  start: as_listed,
  score: (a, b) => b.score - a.score || as_listed(a, b),
  length: (a, b) => b.length - a.length || as_listed(a, b),
};
const passes = {
  kept: (entry, value) => (value === "yes") === (entry.score === entry.score),
  source: (entry, value) => entry.tracks.some(([source]) => source === value),
  reason: (entry, value) => entry.reasons.includes(value),
  percent: (entry, value) => entry.score >= value,
  score: (entry, value) => entry.score >= value,
  length: (entry, value) => entry.length >= value,
  from: (entry, value) => entry.end >= value,
  until: (entry, value) => entry.start <= value,
};
const says = {
  percent: (value) => value.toFixed(0) + " %",
  score,
  length: (value) => value.toFixed(1) + " s",
  from: clock,
  until: clock,
};

/* person 3, track 7, 3 (either), or part of a source's name; all words have to fit */
function finder(text, sources) {
  const words = text.toLowerCase().match(/(?:person|track)\s*\d+|\S+/g) || [];
  const tests = words.map((word) => {
    const number = /^(person|track)?\s*(\d+)$/.exec(word);
    const named = (entry) => entry.tracks.some(([source]) => (sources[source] || "").includes(word));
    if (!number) return named;
    const person = (entry) => entry.id === "person-" + number[2];
    const track = (entry) => entry.tracks.some((pair) => pair[1] === number[2]);
    if (number[1]) return number[1] === "person" ? person : track;
    return (entry) => person(entry) || track(entry) || named(entry);
  });
  return (entry) => tests.every((test) => test(entry));
}

if (controls) {
  const fields = controls.elements;
  const ranges = Array.from(controls.querySelectorAll("input[type=range]"));
  const selects = Array.from(controls.querySelectorAll(".filters select"));
  const names = fields.source ? Array.from(fields.source.options).slice(1) : [];
  const sources = names.map((option) => option.textContent.toLowerCase());
  const nothing = document.querySelector(".nothing");
  const unkept = document.querySelector(".unkept");
  const summary = controls.querySelector("summary");

  const filter = () => {
    // a slider that was not moved filters nothing, however its ends were rounded
    const moved = ranges.filter((range) => range.value !== range.defaultValue);
    const chosen = selects.filter((select) => select.value);
    const found = finder(fields.find.value, sources);
    const tests = [
      found,
      ...moved.map((range) => (entry) => passes[range.name](entry, range.valueAsNumber)),
      ...chosen.map((select) => (entry) => passes[select.name](entry, select.value)),
    ];
    const fits = (entry) => tests.every((test) => test(entry));
    cards.show(fits, orders[fields.sort.value]);
    rows.show(fits, as_listed);
    for (const range of ranges) {
      const text = says[range.name](range.valueAsNumber);
      range.closest("label").querySelector("output").value = text;
      range.setAttribute("aria-valuetext", text);
    }
    const [some, all] = [cards.shown.length, cards.entries.length];
    const noun = controls.dataset.noun;
    fields.shown.value = some === all ? "All " + all.toLocaleString("en") + " " + noun
      : some.toLocaleString("en") + " of " + all.toLocaleString("en") + " " + noun;
    const active = moved.length + chosen.length;
    summary.textContent = active ? "Filters (" + active + " in use)" : "Filters";
    controls.querySelector("button").hidden = !active && !fields.find.value;
    nothing.hidden = some + rows.shown.length > 0;
    unkept.hidden = rows.shown.length === 0;
    unkept.querySelector("summary span").textContent =
      rows.shown.length.toLocaleString("en") + (rows.shown.length === 1 ? " track" : " tracks");
    if (fields.kept && fields.kept.value === "no") unkept.open = true;
  };

  for (const range of ranges) {
    range.defaultValue = range.value; // as the browser has rounded it
  }
  controls.addEventListener("input", (event) => {
    if (event.target.name === "view") view(event.target.value === "tiles");
    else filter();
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", (event) => {
    event.preventDefault(); // the view stays
    fields.find.value = "";
    for (const field of ranges) field.value = field.defaultValue;
    for (const select of selects) select.value = "";
    filter();
    fields.find.focus();
  });
  const tiles = cards.entries.length > 12;
  fields.view.value = tiles ? "tiles" : "whole";
  document.body.classList.toggle("tiles", tiles);
  controls.hidden = false;
  filter();
} else {
  cards.show(every, as_listed);
  rows.show(every, as_listed);
}
follow_hash();
addEventListener("hashchange", follow_hash);

/* The plots: a cursor that follows pointer, touch or arrow keys from candidate to candidate */

const plots = new WeakMap();

function opened(plot) {
  if (!plots.has(plot)) {
    const fates = plot.dataset.fates.split("|");
    const points = JSON.parse(plot.dataset.points).map(([time, value, fate]) => [
      time,
      value,
      fate < 0 ? fates[-1 - fate] : fate,
    ]);
    plots.set(plot, { points, at: Number(plot.getAttribute("aria-valuenow")) - 1 });
  }
  return plots.get(plot);
}

function light(plot, rank) {
  const track = plot.closest(".card");
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
  const shown = plot.dataset.unit ? Math.round(value) + "\u00a0%" : score(value);
  const text = clock(time) + " · " + shown + " · " + (kept ? "kept as number " + fate : fate);
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
    const figure = event.target.closest(".card figure");
    if (!figure) return;
    for (const mark of figure.closest(".card").querySelectorAll(".mark")) {
      mark.classList.toggle("lit", on && mark.dataset.rank === figure.dataset.rank);
    }
  });
}

// Elements and drawings. Text always goes in as text: names of cameras are anybody's.

const SVG = "http://www.w3.org/2000/svg";

export function make(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (name === "class") made.className = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function draw(tag, facts, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const then = new Date(seconds * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return today ? then.toLocaleTimeString() : then.toLocaleString();
}

function line(points, value, from, most) {
  // Points of a polyline over a day, broken where a value is missing.
  const parts = [];
  let part = [];
  for (const point of points) {
    if (value(point) === null) {
      if (part.length) parts.push(part);
      part = [];
    } else part.push([(100 * (point.start_s - from)) / 86400, 30 - (28 * value(point)) / most]);
  }
  if (part.length) parts.push(part);
  return parts
    .map((p) => (p.length === 1 ? [[p[0][0] - 2, p[0][1]], p[0]] : p))
    .map((p) => "M" + p.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L"))
    .join("");
}

export function trend(points) {
  // Quality of faces in [0, 1], and detail of the picture as a share of its own highest.
  const now = Date.now() / 1000;
  const span = points.length ? Math.min(86400, Math.max(3600, now - points[0].start_s)) : 86400;
  const stretched = points.map((p) => ({ ...p, start_s: now - ((now - p.start_s) * 86400) / span }));
  const from = now - 86400;
  const sharpest = Math.max(1e-6, ...points.map((p) => p.sharpness ?? 0));
  const hours = span >= 7200 ? `${Math.round(span / 3600)} h` : `${Math.round(span / 60)} min`;
  const last = (value) => points.map(value).filter((found) => found !== null).at(-1);
  const quality = last((p) => p.quality);
  const detail = last((p) => p.sharpness);
  const told = [
    `The last ${hours}`,
    quality === undefined ? "no faces" : `quality of faces ${quality.toFixed(2)} now`,
    detail === undefined ? "no picture" : `detail of the picture ${Math.round((100 * detail) / sharpest)} % of its best`,
  ];
  return draw(
    "svg",
    { class: "trend", viewBox: "0 0 100 32", preserveAspectRatio: "none", role: "img", "aria-label": told.join(", ") },
    draw("line", { class: "base", x1: 0, x2: 100, y1: 31, y2: 31 }),
    draw("path", { class: "sharpness", d: line(stretched, (p) => p.sharpness, from, sharpest) }),
    draw("path", { class: "quality", d: line(stretched, (p) => p.quality, from, 1) }),
  );
}

export function bar(share) {
  const width = Math.round(100 * Math.min(1, Math.max(0, share)));
  return make(
    "div",
    { class: "bar" },
    draw("svg", { viewBox: "0 0 100 3", preserveAspectRatio: "none" }, draw("rect", { width, height: 3 })),
  );
}

export function timeline(appearances) {
  // One row a camera, one dot a track, by the time at which it was stored.
  const cameras = [...new Set(appearances.map((seen) => seen.source))];
  const times = appearances.map((seen) => seen.recorded_s);
  const first = Math.min(...times);
  const span = Math.max(1, Math.max(...times) - first);
  const height = 22 * cameras.length + 22;
  const [width, left, letters] = innerWidth < 560 ? [330, 96, 12] : [600, 150, 20];
  const right = width - 20;
  const at = (seen) => left + ((right - left) * (seen.recorded_s - first)) / span;
  const picture = draw("svg", {
    class: "timeline", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${appearances.length} appearances, at ${cameras.join(", ")}, from ${clock(first)} to ${clock(first + span)}`,
  });
  cameras.forEach((camera, row) => {
    const y = 14 + 22 * row;
    const name = draw("text", { x: 0, y: y + 4 });
    name.textContent = camera.length > letters ? camera.slice(0, letters - 1) + "…" : camera;
    picture.append(name, draw("line", { x1: left, x2: right, y1: y, y2: y }));
  });
  for (const seen of appearances) {
    const dot = draw("circle", { cx: at(seen), cy: 14 + 22 * cameras.indexOf(seen.source), r: 5 });
    const told = draw("title", {});
    told.textContent = `${seen.source}, ${clock(seen.recorded_s)}`;
    dot.append(told);
    picture.append(dot);
  }
  const begin = draw("text", { x: left, y: height - 4 });
  begin.textContent = clock(first);
  picture.append(begin);
  if (times.length > 1) {
    const end = draw("text", { x: right, y: height - 4, "text-anchor": "end" });
    end.textContent = clock(first + span);
    picture.append(end);
  }
  return picture;
}

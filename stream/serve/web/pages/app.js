import { bar, clock, make, timeline, trend } from "/draw.js";

const API = "/api/v1";
const SHOTS = 40;
const PAGE = 60;
const MOST = 200; // people that the service tells of at once
const $ = (id) => document.getElementById(id);
const cards = new Map();
let me = null;
let source = null;
let timers = [];
let peopleShown = 0;
let peopleTimer = null;
let searching = false;
let watched = null;

class Unreachable extends Error {}

async function ask(path, options = {}) {
  const answer = await fetch(API + path, { credentials: "same-origin", ...options }).catch(() => {
    throw new Unreachable("the service does not answer");
  });
  if (answer.status === 401 && me !== null) leave();
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `the service answered ${answer.status}`);
  }
  return answer.status === 204 ? null : answer.json();
}

function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => ($("toast").hidden = true), 6000);
}

const told = (work) => async (...given) => {
  try {
    return await work(...given);
  } catch (error) {
    toast(error.message);
    return undefined;
  }
};

function status(text, on) {
  $("link").textContent = text;
  $("link").className = on ? "on" : "off";
}

// --- who ---------------------------------------------------------------------------------------------------------

async function begin() {
  try {
    me = await ask("/session");
  } catch (error) {
    status("not logged in", false);
    $("login").hidden = false;
    $("token").focus();
    return;
  }
  $("login").hidden = true;
  document.querySelector("main").hidden = false;
  $("leave").hidden = me.by !== "session";
  $("reload").hidden = me.scope !== "admin";
  $("people").hidden = $("to-people").hidden = !me.people;
  listen();
  await Promise.all([told(refresh)(), told(newest)(), me.people ? told(people)() : null]);
  timers = [setInterval(told(refresh), 2000), setInterval(told(trends), 30000)];
  told(trends)();
}

function leave() {
  timers.forEach(clearInterval);
  source?.close();
  me = null;
  location.reload();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("login-error").textContent = "";
  try {
    await ask("/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: $("token").value }),
    });
    $("token").value = "";
    await begin();
  } catch (error) {
    $("login-error").textContent = error.message;
  }
});
$("leave").addEventListener("click", told(async () => {
  await ask("/session", { method: "DELETE" });
  leave();
}));
$("reload").addEventListener("click", told(async () => {
  const done = await ask("/reload", { method: "POST" });
  const parts = ["added", "changed", "removed"].filter((k) => done[k].length).map((k) => `${k}: ${done[k].join(", ")}`);
  if (done.restart_needed.length) parts.push(`after a restart: ${done.restart_needed.join(", ")}`);
  toast(parts.join("; ") || "nothing has changed");
  await refresh();
}));

// --- cameras -----------------------------------------------------------------------------------------------------

async function refresh() {
  if (document.hidden) return;
  let cameras;
  try {
    cameras = await ask("/cameras");
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    away(true);
    return;
  }
  away(false);
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, card] of cards) {
    if (!names.has(name)) {
      card.root.remove();
      cards.delete(name);
    }
  }
  for (const camera of cameras) {
    if (!cards.has(camera.name)) cards.set(camera.name, newCard(camera.name));
    show(cards.get(camera.name), camera);
  }
  const count = (test) => cameras.filter(test).length;
  const parts = [`${count((c) => c.state === "live")} of ${cameras.length} live`];
  const busy = count((c) => c.degraded && c.state === "live");
  if (busy) parts.push(`${busy} overloaded`);
  if (count((c) => c.soft)) parts.push(`${count((c) => c.soft)} out of focus?`);
  $("summary").textContent = cameras.length ? parts.join(", ") : "None yet.";
}

function away(gone) {
  // What the page shows is old while nobody answers.
  $("wall").classList.toggle("away", gone);
  if (gone) status("the service does not answer, trying again", false);
  else if (source?.readyState === EventSource.OPEN) status("connected", true);
}

function newCard(name) {
  const image = make("img", { alt: `What ${name} sees` });
  image.hidden = true;
  const none = make("span", { class: "none" });
  const picture = make("button", { class: "picture", type: "button", "aria-label": `Watch ${name}` }, image, none);
  const state = make("span", { class: "state" });
  const soft = make("span", { class: "state warn" }, "out of focus?");
  const busy = make("span", { class: "state warn" }, "overloaded");
  const numbers = make("p", { class: "numbers" });
  const reason = make("p", { class: "quiet" });
  const drawn = make("div", { hidden: "" });
  const steer = make("button", { type: "button" });
  const key = make("p", { class: "key", hidden: "" }, make("span", {}, "face quality"), make("span", { class: "s" }, "picture detail"));
  const title = make("div", { class: "row" }, make("h3", {}, name), make("span", {}, soft, " ", busy, " ", state));
  const root = make("article", { class: "card camera", "data-camera": name },
    picture, make("div", { class: "facts" }, title, numbers, reason, drawn, make("div", { class: "row" }, key, steer)));
  const card = { root, picture, image, none, state, soft, busy, numbers, reason, drawn, key, steer, name, seen: null, busyNow: false, now: null };
  picture.addEventListener("click", () => watch(name));
  steer.addEventListener("click", told(async () => {
    const act = card.now.state === "stopped" ? "resume" : "pause";
    show(card, await ask(`/cameras/${encodeURIComponent(name)}/${act}`, { method: "POST" }));
  }));
  $("wall").append(root);
  return card;
}

function show(card, camera) {
  card.now = camera;
  card.state.textContent = camera.state.replace("_", " ");
  card.state.className = `state ${camera.state}`;
  card.soft.hidden = !camera.soft;
  card.busy.hidden = !camera.degraded || camera.state !== "live";
  card.reason.textContent = camera.reason;
  card.reason.hidden = !camera.reason;
  card.steer.hidden = me?.scope !== "admin";
  card.steer.textContent = camera.state === "stopped" ? "Resume" : "Pause";
  card.steer.setAttribute("aria-label", `${card.steer.textContent} ${card.name}`);
  const gone = camera.state !== "live";
  card.picture.classList.toggle("stale", gone);
  const none = camera.last_frame_s === null;
  card.none.textContent = none ? "no picture yet" : gone ? `last picture ${clock(camera.last_frame_s)}` : "";
  if (watched?.name === card.name) tellWatched(camera);
  const facts = [
    camera.width ? `${camera.width}×${camera.height}` : null,
    camera.hz ? `${camera.hz.toFixed(camera.hz < 10 ? 1 : 0)} looks/s` : "every frame",
    camera.latency_ms === null ? null : `${Math.round(camera.latency_ms)} ms each`,
    camera.tracks_ended === 1 ? "1 track" : `${camera.tracks_ended} tracks`,
    camera.dropped ? `${camera.dropped} dropped` : null,
    camera.quality === null ? null : `quality ${camera.quality.toFixed(2)}`,
  ];
  card.numbers.replaceChildren(...facts.filter((fact) => fact !== null).map((fact) => make("span", {}, fact)));
  const box = card.root.getBoundingClientRect();
  const visible = box.bottom > 0 && box.top < innerHeight;
  if (camera.state !== "live" || !visible || card.busyNow || camera.last_frame_s === card.seen) return;
  card.seen = camera.last_frame_s;
  card.busyNow = true;
  const next = new Image();
  next.onload = () => {
    card.image.src = next.src;
    card.image.hidden = false;
    card.busyNow = false;
  };
  next.onerror = () => (card.busyNow = false);
  next.src = `${API}/cameras/${encodeURIComponent(card.name)}/snapshot.jpg?labels=false&at=${camera.processed}`;
}

async function trends() {
  if (document.hidden) return;
  for (const card of cards.values()) {
    const points = await ask(`/cameras/${encodeURIComponent(card.name)}/trend`);
    card.drawn.replaceChildren(trend(points));
    card.drawn.hidden = card.key.hidden = !points.length;
  }
}

function watch(name) {
  const live = make("img", { alt: `What ${name} sees` });
  const note = make("p", { class: "quiet", role: "status" });
  watched = { name, note, live, shown: null };
  tellWatched(cards.get(name).now);
  open(make("h2", {}, name), note, live);
  $("view").addEventListener("close", () => {
    live.removeAttribute("src");
    watched = null;
  }, { once: true });
}

function tellWatched(camera) {
  const { name, note, live } = watched;
  const none = camera.last_frame_s === null;
  const moving = camera.state === "live" && !none;
  const last = none ? "no picture yet" : `last picture ${clock(camera.last_frame_s)}`;
  const text = moving ? "live" : [camera.state.replace("_", " "), last, camera.reason].filter((part) => part).join(", ");
  if (note.textContent !== text) note.textContent = text;
  // A browser shows a part of a live picture when the next one comes: of a lost camera that would be never.
  const wanted = none ? null : moving ? "preview.mjpeg" : "snapshot.jpg";
  live.hidden = wanted === null;
  if (wanted !== null && wanted !== watched.shown) live.src = `${API}/cameras/${encodeURIComponent(name)}/${wanted}`;
  watched.shown = wanted;
}

function open(...content) {
  $("detail").replaceChildren(...content.filter((part) => part !== null));
  if (!$("view").open) $("view").showModal();
}

// --- shots -------------------------------------------------------------------------------------------------------

function listen() {
  source = new EventSource(`${API}/events`);
  source.onopen = () => status("connected", true);
  source.onerror = () => {
    status("connection lost, trying again", false);
    // A browser tries again where the connection broke, not where it was refused.
    if (source.readyState === EventSource.CLOSED && me) setTimeout(listen, 5000);
  };
  const take = (event) => told(async () => shot(JSON.parse(event.data)))();
  source.addEventListener("shot", take);
  source.addEventListener("track_ended", take);
  source.addEventListener("camera_state", told(refresh));
  source.addEventListener("gap", told(newest));
  source.addEventListener("identity_deleted", told(async () => {
    await newest();
    if (me.people) await people();
  }));
  source.addEventListener("identity_updated", () => {
    peopleTimer ??= setTimeout(told(async () => {
      peopleTimer = null;
      // Neither what was searched for nor a long list that was asked for goes away by itself.
      if (me.people && !searching && peopleShown <= MOST) await people();
    }), 5000);
  });
}

function shot(event) {
  const facts = event.type === "shot" ? event.shot : event.shots[0];
  const image = facts?.image && event.images[facts.image];
  if (!image) return;
  const { camera, boot, session } = event.origin;
  put({
    key: [boot, camera, session, event.track, event.window].join("/"),
    camera, image, identity: event.identity ?? null, track: event.track,
    wall_s: facts.wall_s, score: facts.score, calibrated: facts.calibrated,
  });
}

async function newest() {
  const shots = await ask(`/shots?limit=${SHOTS}`);
  $("strip").replaceChildren();
  for (const one of shots.reverse()) put(one);
}

function put(one) {
  const before = [...$("strip").children].find((item) => item.dataset.key === one.key);
  const score = one.calibrated ?? one.score;
  const who = one.identity === null ? null : make("span", {}, ` · person ${one.identity}`);
  const item = make("li", { class: "card new", "data-key": one.key },
    make("button", { type: "button", "aria-label": `Face at ${one.camera}, ${clock(one.wall_s)}`, on: { click: () => face(one) } },
      make("img", { src: one.image, alt: "", loading: "lazy" }),
      bar(one.calibrated ?? 0),
      make("p", { class: "label" }, make("b", {}, score.toFixed(2)), who, make("br"),
        make("span", { class: "where", title: one.camera }, one.camera), clock(one.wall_s))));
  before?.remove();
  $("strip").prepend(item);
  while ($("strip").children.length > SHOTS) $("strip").lastChild.remove();
  $("no-shots").hidden = true;
}

function face(one) {
  const person = one.identity === null || !me.people ? null :
    make("div", {}, make("button", { type: "button", on: { click: told(() => detail(one.identity)) } }, `Person ${one.identity}`));
  open(make("h2", {}, `Face at ${one.camera}`),
    make("p", { class: "quiet" }, `${clock(one.wall_s)}, track ${one.track}, quality ${(one.calibrated ?? one.score).toFixed(2)}`),
    make("img", { src: one.image, alt: `Face at ${one.camera}`, class: "large" }), person);
}

// --- people ------------------------------------------------------------------------------------------------------

function person(one, similarity = null) {
  const label = similarity === null ? `${one.tracks} ${one.tracks === 1 ? "track" : "tracks"}` : `similarity ${similarity.toFixed(2)}`;
  return make("li", { class: "card", "data-identity": one.identity, "data-image": one.image },
    make("button", { type: "button", "aria-label": `Person ${one.identity}`, on: { click: told(() => detail(one.identity)) } },
      make("img", { src: one.image, alt: "", loading: "lazy" }),
      make("p", { class: "label" }, make("b", {}, `Person ${one.identity}`), make("br"), label, make("br"), `last ${clock(one.last_recorded_s)}`)));
}

async function people() {
  const found = await ask(`/identities?limit=${Math.min(MOST, Math.max(PAGE, peopleShown))}`);
  searching = false;
  peopleShown = found.people.length;
  const many = found.total === 1 ? "1 person" : `${found.total} people, last seen first`;
  $("people-note").textContent = found.total ? many : "Nobody yet.";
  // Pictures that are there stay: a face is fetched, and written down as looked at, once. So does the focus.
  const focused = document.activeElement?.closest("#gallery li")?.dataset.identity;
  const known = new Map([...$("gallery").children].map((item) => [item.dataset.identity, item]));
  $("gallery").replaceChildren(...found.people.map((one) => {
    const item = person(one);
    const before = known.get(String(one.identity));
    if (before?.dataset.image === one.image) item.querySelector("img").replaceWith(before.querySelector("img"));
    return item;
  }));
  if (focused) $("gallery").querySelector(`[data-identity="${focused}"] button`)?.focus();
  $("more").hidden = peopleShown >= found.total;
}

$("more").addEventListener("click", told(async () => {
  const found = await ask(`/identities?offset=${peopleShown}&limit=${PAGE}`);
  peopleShown += found.people.length;
  $("gallery").append(...found.people.map((one) => person(one)));
  $("more").hidden = peopleShown >= found.total || !found.people.length;
}));

$("search").addEventListener("change", told(async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  const found = await ask("/identities/search?limit=12", { method: "POST", headers: { "Content-Type": file.type }, body: file });
  event.target.value = "";
  if (!found.face) return toast("no face was found in the picture");
  searching = true;
  $("people-note").replaceChildren("Most alike first. ", make("button", { type: "button", on: { click: told(people) } }, "Show everyone"));
  peopleShown = 0;
  $("gallery").replaceChildren(...found.matches.map((match) => person(match.person, match.similarity)));
  $("more").hidden = true;
}));

async function detail(identity) {
  const one = await ask(`/identities/${identity}`);
  const merged = one.merged_from.length ? ` Was also ${one.merged_from.join(", ")}.` : "";
  const faces = one.appearances.flatMap((seen) => seen.shots.map((kept) => [seen, kept]));
  faces.sort((a, b) => b[1].score - a[1].score);
  const pictures = faces.slice(0, 60).map(([seen, kept]) =>
    make("img", { src: kept.image, loading: "lazy", alt: `${seen.source}, ${clock(seen.recorded_s)}`, title: `${(kept.calibrated ?? kept.score).toFixed(2)} · ${seen.source} · ${clock(seen.recorded_s)}` }));
  const forget = make("button", { type: "button", class: "danger" }, "Delete this person");
  forget.hidden = me.scope !== "admin";
  forget.addEventListener("click", told(async () => {
    if (!confirm(`Delete person ${one.identity} with all pictures? Receivers of events are told to forget it, too. This cannot be undone.`)) return;
    const gone = await ask(`/identities/${one.identity}`, { method: "DELETE" });
    $("view").close();
    toast(`${gone.tracks} tracks and ${gone.pictures} pictures deleted`);
    await Promise.all([people(), newest()]);
  }));
  open(make("h2", {}, `Person ${one.identity}`),
    make("p", { class: "quiet" }, `${one.tracks} ${one.tracks === 1 ? "track" : "tracks"}, best quality ${one.quality.toFixed(2)}.${merged}`),
    timeline(one.appearances), make("div", { class: "faces" }, ...pictures), make("div", {}, forget));
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && me) told(refresh)();
});
begin();

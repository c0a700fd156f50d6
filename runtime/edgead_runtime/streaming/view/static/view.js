// The page: what arrives is shown, what is pressed is said.

import { ANOMALY, Chart, LATE, Points, ThresholdLine, words } from "./chart.js";
import { Link, post, sentence } from "./link.js";
import {
  lastLesson, number, showAlerts, showCameras, showEvents, showLessons, showNumbers, time,
} from "./lists.js";
import { decode, PALETTE, Picture } from "./picture.js";

const at = (id) => document.getElementById(id);
const picture = new Picture(at("picture"));
const points = new Points();
const state = { budget_ms: null, threshold: null };
let events = [];
let lessons = [];
let trial = null; // the threshold while it is being moved
let held = null; // { sequence, event } while the picture is held
let pressed = null; // the number of the picture on which a button was pressed
let busy = false;

// -- the connection ----------------------------------------------------------------------------------------

const link = new Link({
  told: (what) => ({ state: takeState, held: takeHeld, event: takeEvent, gone: takeGone })[what.type]?.(what),
  pictures: takePicture,
  changed(up, reason) {
    at("link").className = `link ${up ? "up" : "down"}`;
    at("link").textContent = up ? "connected" : sentence(reason || "no connection; trying again");
    if (!up) return;
    if (state.camera) link.say({ do: "camera", camera: state.camera });
    held = null;
    link.say({ do: "ready" });
    showHeld();
  },
});
if (location.search) history.replaceState(null, "", "./"); // a token does not stay in the address

function takeState(what) {
  const otherCamera = what.camera !== state.camera;
  Object.assign(state, what);
  points.take(what.points, what.afresh);
  events = what.events ?? (otherCamera ? [] : events);
  lessons = what.lessons ?? (otherCamera ? [] : lessons);
  showState();
}

async function takePicture(buffer) {
  const decoded = await decode(buffer);
  const wanted = held ? decoded.about.sequence === held.sequence && held.event : pressed == null;
  if (wanted && decoded.about.camera === state.camera) {
    picture.show(decoded);
    showVerdict();
  }
  if (!held && pressed == null) link.say({ do: "ready" });
}

// -- the picture and its verdict ---------------------------------------------------------------------------

function showVerdict() {
  const about = picture.shown?.about;
  if (!about) return;
  const verdict = at("verdict");
  const [title, detail] = [verdict.firstElementChild, verdict.lastElementChild];
  at("failure").hidden = about.inspected;
  if (!about.inspected) {
    verdict.className = "verdict unseen";
    put(title, "NOT INSPECTED");
    detail.textContent = "neither good nor bad";
    at("failure").textContent = about.failure ?? "";
  } else {
    const limit = trial ?? (held ? state.threshold?.current : null);
    const [score, threshold] = onScale(about, limit);
    const anomaly = limit == null ? about.anomaly : !(score != null && score <= threshold);
    verdict.className = `verdict ${anomaly ? "anomaly" : "ok"}`;
    put(title, anomaly ? "ANOMALY" : "OK");
    const tried = trial == null ? "" : " (if the line stays here)";
    detail.textContent = `score ${number(score)}, ${anomaly ? "over" : "within"} ${number(threshold)}${tried}`;
  }
  const shape = about.size ? `, ${about.size[0]} by ${about.size[1]} pixels` : "";
  at("picture").setAttribute("aria-label", `Picture ${about.name || about.sequence}${shape}`);
  showButtons();
}

// Only what changed, so that a screen reader says a verdict when there is a new one.
function put(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// Score and threshold of a frame, in the unit of the full setting where a limit is given in it.
function onScale(about, limit) {
  if (limit == null) return [about.score, about.threshold];
  const faster = about.degraded.length > 0 && about.score != null && about.threshold > 0;
  return [faster ? (about.score / about.threshold) * state.threshold.current : about.score, limit];
}

function showHeld() {
  at("held").hidden = !held;
  at("hold").setAttribute("aria-pressed", String(Boolean(held)));
  if (held) {
    const about = picture.shown?.about;
    const since = about ? ` of ${time(about.captured_at)}` : "";
    at("held").firstElementChild.textContent = held.event ? `Worst picture of an event` : `Held picture${since}`;
  }
  showVerdict();
  showEvents(at("events"), events, state.camera, held?.event, openEvent);
}

function goLive() {
  held = null;
  link.say({ do: "release" });
  showHeld();
}

at("hold").addEventListener("click", () => {
  if (held) goLive();
  else if (picture.shown) {
    held = { sequence: picture.shown.about.sequence };
    link.say({ do: "hold", sequence: held.sequence });
    showHeld();
  }
});
at("go-live").addEventListener("click", goLive);

function openEvent(id) {
  if (held?.event === id) goLive();
  else link.say({ do: "event", event: id });
}

function takeEvent(what) {
  held = { sequence: what.sequence, event: what.event };
  showHeld();
  at("verdict").scrollIntoView({ block: "nearest" });
}

function takeHeld({ kept, sequence }) {
  if (!kept && held?.sequence === sequence) tell("This picture went by too fast to be kept; hold another.", "bad");
}

function takeGone() {
  tell("The picture of this event is no longer kept.", "bad");
}

for (const [id, field] of [["show-heat", "showHeat"], ["show-boxes", "showBoxes"]]) {
  at(id).addEventListener("change", ({ target }) => {
    picture[field] = target.checked;
    picture.draw();
  });
}
at("legend").style.background = `linear-gradient(to right, ${PALETTE.join(", ")})`;

// -- the charts --------------------------------------------------------------------------------------------

const isHot = (point) => {
  const limit = trial ?? state.threshold?.current;
  return limit == null ? point[3] & ANOMALY : !(point[1] <= limit);
};
const scores = new Chart(at("scores"), { value: (point) => point[1], hot: isHot, right: 96 });
const latencies = new Chart(at("latencies"), { value: (point) => point[2], hot: (point) => point[3] & LATE });
latencies.drawsLine = true;
const line = new ThresholdLine(at("threshold"), scores, {
  moved(value) {
    trial = value;
    if (value != null) at("value").value = value.toPrecision(4);
    showCharts();
    showVerdict();
  },
  set: setThreshold,
});

function showCharts() {
  const recent = points.recent();
  const threshold = state.threshold?.current ?? picture.shown?.about.threshold ?? null;
  scores.update(recent, threshold);
  latencies.update(recent, state.budget_ms);
  line.place(threshold, Boolean(state.threshold));
  at("span").textContent = recent.points.length ? `last ${words(recent.span)}` : "";
  const hot = recent.points.filter(isHot).length;
  at("preview").textContent =
    trial == null
      ? `Above the line is an anomaly: ${hot} of the last ${recent.points.length} frames.`
      : `At ${number(trial)}, ${hot} of the last ${recent.points.length} frames would be anomalies.`;
}
new ResizeObserver(showCharts).observe(at("scores"));

// -- the state ---------------------------------------------------------------------------------------------

function showState() {
  showCameras(at("cameras"), state.cameras, state.camera, chooseCamera);
  showAlerts(at("alerts"), state);
  const { points: shown, span } = points.recent();
  const inside = shown.length > 1 ? shown.at(-1)[0] - shown[0][0] : 0;
  showNumbers(at("numbers"), state, inside > 0 ? ((shown.length - 1) / Math.min(span, inside)).toFixed(1) : "-");
  showCharts();
  const { p50, p99 } = state.stats?.latency_ms ?? {};
  const budget = state.budget_ms == null ? "" : `, budget ${state.budget_ms}`;
  at("latency-words").textContent = p50 == null ? "" : `median ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)}${budget}`;
  showThreshold();
  showEvents(at("events"), events, state.camera, held?.event, openEvent);
  at("no-events").hidden = events.length > 0;
  at("teach").hidden = at("learned").hidden = !state.teaches;
  showLessons(at("lessons"), lessons, undo);
  at("no-lessons").hidden = lessons.length > 0;
  document.title = `${state.camera}: edgead live`;
  if (held) showVerdict();
  else showButtons();
}

function chooseCamera(name) {
  held = null;
  Object.assign(state, { camera: name });
  link.say({ do: "camera", camera: name });
  showHeld();
}

// -- what is said ------------------------------------------------------------------------------------------

function tell(text, kind = "") {
  at("told").textContent = text;
  at("told").className = `told ${kind}`;
  at("told").hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => (at("told").hidden = true), 12000);
}

function who() {
  return at("who").value.trim();
}
at("who").value = localStorage.getItem("edgead-who") ?? "";
at("who").addEventListener("change", () => localStorage.setItem("edgead-who", who()));

async function ask(path, body, told) {
  busy = true;
  showButtons();
  try {
    tell(told(await post(path, { camera: state.camera, who: who(), ...body })), "ok");
    return true;
  } catch (error) {
    tell(error.message, "bad");
    return false;
  } finally {
    busy = false;
    showButtons();
  }
}

function showButtons() {
  const sayable = picture.shown?.about.inspected && !busy;
  at("good").disabled = at("defect").disabled = !sayable;
  at("undo").disabled = busy || !lastLesson(lessons);
}

for (const [id, words] of [["good", "is known as good from now on"], ["defect", "is kept as a defect"]]) {
  const button = at(id);
  // What is meant is what is seen when the finger comes down, not what has come since.
  button.addEventListener("pointerdown", () => (pressed = picture.shown?.about.sequence ?? null));
  button.addEventListener("click", async () => {
    const sequence = pressed ?? picture.shown?.about.sequence;
    pressed ??= sequence;
    const done = await ask(`api/${id}`, { sequence }, (lesson) => `${lesson.picture} ${words}.`);
    letGo();
    if (done && held) goLive();
  });
}

// After the click, if this was one.
for (const kind of ["pointerup", "pointercancel"]) document.addEventListener(kind, () => setTimeout(letGo, 50));

function letGo() {
  if (busy || pressed == null) return;
  pressed = null;
  if (!held) link.say({ do: "ready" });
}

function undo(lesson) {
  if (lesson && !busy) ask("api/undo", { lesson: lesson.id }, () => `${lesson.picture}: taken back.`);
}
at("undo").addEventListener("click", () => undo(lastLesson(lessons)));

async function setThreshold(value) {
  const before = state.threshold;
  state.threshold = { ...before, current: value ?? before.at_start };
  showCharts();
  const done = await ask("api/threshold", { threshold: value }, (now) => `The threshold is ${number(now.current)}.`);
  if (!done) state.threshold = before;
  showCharts();
  showThreshold();
}

function showThreshold() {
  const threshold = state.threshold;
  at("set-threshold").hidden = !threshold;
  if (!threshold) return;
  const field = at("value");
  if (document.activeElement !== field && trial == null) field.value = Number(threshold.current.toPrecision(4));
  const origin = threshold.calibrated ? "calibrated" : "as set at the start";
  at("reset").textContent = `Reset to ${number(threshold.at_start)}`;
  at("reset").title = origin;
  at("reset").disabled = threshold.current === threshold.at_start;
}

at("set-threshold").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = at("value").valueAsNumber;
  at("value").blur();
  if (Number.isFinite(value) && value >= 0) setThreshold(value);
  else tell("A threshold is a number of at least 0.", "bad");
});
at("reset").addEventListener("click", () => setThreshold(null));

// The page: what arrives is shown, what is pressed is said.

import { ANOMALY, Chart, LATE, Points, ThresholdLine, words } from "./chart.js";
import { Link, post, sentence } from "./link.js";
import {
  lastLesson, number, showAlerts, showCameras, showEvents, showLessons, showNumbers, time,
} from "./lists.js";
import { decode, PALETTE, Picture } from "./picture.js";
import { Verdict, whyNotLive } from "./verdict.js";

const at = (id) => document.getElementById(id);
const picture = new Picture(at("picture"));
const verdict = new Verdict(at("verdict"), at("failure"), at("stage"));
const points = new Points();
const state = { budget_ms: null, threshold: null, camera: sessionStorage.getItem("edgead-camera") };
let events = [];
let lessons = [];
let trial = null; // the threshold while it is being moved
let held = null; // { sequence, event } while the picture is held
let pressed = null; // what is said of the picture on which a button was pressed
let busy = false;
let connected = false;
let told_ms = 0; // when the state came

// -- the connection ----------------------------------------------------------------------------------------

const link = new Link({
  told: (what) => ({ state: takeState, held: takeHeld, event: takeEvent, gone: takeGone })[what.type]?.(what),
  pictures: takePicture,
  changed(up, reason) {
    connected = up;
    at("link").className = `link ${up ? "up" : "down"}`;
    at("link").textContent = up ? "connected" : sentence(reason || "no connection; trying again");
    if (!up) {
      showVerdict();
      return;
    }
    if (state.camera) link.say({ do: "camera", camera: state.camera }); // one that is gone is passed over
    held = null;
    link.say({ do: "ready" });
    showHeld();
  },
  shut: () => location.reload(),
});
if (location.search) history.replaceState(null, "", "./"); // a token does not stay in the address

// Another run of the loop: its frames bear the same numbers, and it may be another version with another page.
function loadAgain(words) {
  sessionStorage.setItem("edgead-told", words);
  if (state.camera) sessionStorage.setItem("edgead-camera", state.camera);
  location.reload();
}
const toldBefore = sessionStorage.getItem("edgead-told");
for (const name of ["told", "camera"]) sessionStorage.removeItem(`edgead-${name}`);
if (toldBefore) tell(toldBefore, "bad");

function takeState(what) {
  if (state.run && what.run !== state.run) {
    loadAgain("The loop was started again. What was held or half moved before is forgotten.");
    return;
  }
  const otherCamera = what.camera !== state.camera;
  Object.assign(state, what);
  told_ms = performance.now();
  points.take(what.points, what.afresh);
  events = what.events ?? (otherCamera ? [] : events);
  lessons = what.lessons ?? (otherCamera ? [] : lessons);
  showState();
}

async function takePicture(buffer) {
  const decoded = await decode(buffer);
  if (state.run && decoded.about.run !== state.run) return; // the state that follows says so
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
  const why = held ? null : whyNotLive(state, connected);
  verdict.show(about, {
    limit: trial ?? (held ? state.threshold?.current : null) ?? null,
    current: state.threshold?.current,
    tried: trial != null,
    why,
    age_s: held ? 0 : (state.age_s ?? 0) + (performance.now() - told_ms) / 1000,
  });
  scores.end = latencies.end = why == null ? "now" : "last picture";
  const shape = about.size ? `, ${about.size[0]} by ${about.size[1]} pixels` : "";
  at("picture").setAttribute("aria-label", `Picture ${about.name || about.sequence}${shape}`);
  showButtons();
}
setInterval(() => !held && showVerdict(), 1000); // it grows older also where nothing is told

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
    const { run, sequence } = picture.shown.about;
    held = { sequence };
    link.say({ do: "hold", run, sequence });
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
const latencies = new Chart(at("latencies"), { value: (point) => point[2], hot: (point) => point[3] & LATE, ticks: 2 });
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
  if (!recent.points.length) at("preview").textContent = "No frame yet.";
  else at("preview").textContent =
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
  const budget = state.budget_ms == null ? "" : `; the line: budget ${state.budget_ms} ms`;
  at("latency-words").textContent = p50 == null ? "" : `median ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms${budget}`;
  showThreshold();
  showEvents(at("events"), events, state.camera, held?.event, openEvent);
  at("no-events").hidden = events.length > 0;
  const all = state.event_count ?? 0;
  at("event-count").textContent = all > events.length ? `the newest ${events.length} of ${all}` : "";
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
    tell(told(await post(path, { camera: state.camera, run: state.run, who: who(), ...body })), "ok");
    return true;
  } catch (error) {
    if (error.otherRun) loadAgain(error.message);
    else tell(error.message, "bad");
    return false;
  } finally {
    busy = false;
    showButtons();
  }
}

function showButtons() {
  const sayable = picture.shown?.about.inspected && !busy;
  at("good").disabled = at("defect").disabled = !sayable;
  // Somebody at another page may have said the last one, so the button names what it takes back.
  const last = lastLesson(lessons);
  at("undo").disabled = busy || !last;
  at("undo-what").textContent = last ? last.picture : "";
}

for (const [id, words] of [["good", "is known as good from now on"], ["defect", "is kept as a defect"]]) {
  const button = at(id);
  // What is meant is what is seen when the finger comes down, not what has come since.
  button.addEventListener("pointerdown", () => (pressed = picture.shown?.about ?? null));
  button.addEventListener("click", async () => {
    pressed ??= picture.shown?.about;
    const { run, sequence } = pressed;
    const done = await ask(`api/${id}`, { run, sequence }, (lesson) => `${lesson.picture} ${words}.`);
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
let named = null;
at("undo").addEventListener("pointerdown", () => (named = lastLesson(lessons)));
at("undo").addEventListener("click", () => {
  undo(named ?? lastLesson(lessons));
  named = null;
});

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

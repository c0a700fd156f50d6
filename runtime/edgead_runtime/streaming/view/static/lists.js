// What is listed beside the picture: cameras, alarms, numbers, events and lessons. Texts from outside are put in
// as text, never as HTML.

import { sentence } from "./link.js";

const TROUBLES = {
  lost: "Camera lost: trying to reconnect",
  stalled: "Camera hangs: trying to reconnect",
  frozen: "Camera frozen: the same picture again and again",
  "not inspected": "Frames cannot be inspected",
  engine: "The engine fails",
  "source failed": "The source ended with a failure",
  "triggers missed": "Parts were not inspected: triggers came too fast",
};
export const STANDS_S = 10;

export function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// With the day where that is not today: a loop runs for weeks.
export function time(stamp) {
  const then = new Date(stamp);
  const clock = then.toLocaleTimeString("en", { hourCycle: "h23" });
  if (then.toDateString() === new Date().toDateString()) return clock;
  return `${then.toLocaleDateString("en", { day: "numeric", month: "short" })}, ${clock}`;
}

export function number(value, digits = 3) {
  return value == null ? "no number" : Number(value).toFixed(digits);
}

// Only what changed is made anew, so that a button under a finger or the keyboard's focus stays.
const drawn = new Map();
function changed(list, facts) {
  const text = JSON.stringify(facts);
  if (drawn.get(list) === text) return false;
  drawn.set(list, text);
  return true;
}

export function showCameras(list, cameras, current, choose) {
  const facts = cameras.map(({ name, troubles, open_events }) => [name, Object.keys(troubles), open_events > 0]);
  if (!changed(list, [facts, current])) return;
  const focused = document.activeElement?.dataset?.camera;
  list.replaceChildren(
    ...facts.map(([name, troubles, alarm]) => {
      const button = element("button", name, { type: "button", "data-camera": name, title: name });
      if (name === current) button.setAttribute("aria-current", "true");
      button.classList.toggle("trouble", troubles.length > 0);
      button.classList.toggle("alarm", troubles.length === 0 && alarm);
      const remarks = [...troubles, ...(alarm ? ["event open"] : [])];
      if (remarks.length) button.setAttribute("aria-label", `${name}: ${remarks.join(", ")}`);
      button.addEventListener("click", () => choose(name));
      return button;
    }),
  );
  list.querySelector(`[data-camera="${CSS.escape(focused ?? "")}"]`)?.focus({ preventScroll: true });
}

export function showAlerts(list, state) {
  const alerts = Object.entries(state.stats?.troubles ?? {}).map(([kind, text]) => [
    "bad", TROUBLES[kind] ?? sentence(kind), text,
  ]);
  if (state.standing_s > STANDS_S) {
    alerts.push(["bad", "The loop stands still", `Nothing was looked at for ${Math.round(state.standing_s)} s.`]);
  }
  for (const text of state.degraded) alerts.push(["warn", "Inspecting with less to keep the time budget", text]);
  for (const [kind, text] of state.alerts) alerts.push(["warn", sentence(kind), text]);
  for (const text of state.notes) alerts.push(["warn", "Note", text]);
  if (state.zones.length) {
    alerts.push(["warn", "Events go by zones", `${state.zones.join(", ")}: each by its own limit, not by the line.`]);
  }
  if (!changed(list, alerts)) return;
  list.replaceChildren(
    ...alerts.map(([kind, title, text]) => {
      const made = element("p", "", { class: kind === "bad" ? "alert bad" : "alert" });
      made.append(element("b", title), text);
      return made;
    }),
  );
}

export function showNumbers(list, state, perSecond) {
  const stats = state.stats;
  if (!stats) return;
  const rows = [
    ["inspected", stats.inspected.toLocaleString("en"), false],
    ["a second", perSecond, false],
    ["anomalous", stats.anomalies.toLocaleString("en"), false],
    ["dropped", stats.dropped.toLocaleString("en"), false],
    ["too late", state.budget_ms == null ? "no budget" : stats.late.toLocaleString("en"), stats.late > 0],
    ["with less quality", stats.degraded.toLocaleString("en"), stats.degraded > 0],
    ["not inspected", stats.not_inspected.toLocaleString("en"), stats.not_inspected > 0],
    ["reconnects", stats.reconnects.toLocaleString("en"), stats.reconnects > 0],
    ["open events", stats.open_events.toLocaleString("en"), stats.open_events > 0],
  ];
  if (!changed(list, rows)) return;
  list.replaceChildren(
    ...rows.map(([name, value, warn]) => {
      const row = element("div", "", warn ? { class: "warn" } : {});
      row.append(element("dt", name), element("dd", value));
      return row;
    }),
  );
}

export function showEvents(list, events, camera, shown, open) {
  if (!changed(list, [events, camera, shown])) return;
  const focused = document.activeElement?.dataset?.event;
  list.replaceChildren(...events.map((event) => card(event, camera, event.id === shown, open)));
  list.querySelector(`[data-event="${CSS.escape(focused ?? "")}"]`)?.focus({ preventScroll: true });
}

function card(event, camera, isShown, open) {
  const button = element("button", "", { type: "button", class: "event", "data-event": event.id });
  button.classList.toggle("open", event.state !== "closed");
  if (isShown) button.setAttribute("aria-current", "true");
  if (event.shown) {
    const asked = new URLSearchParams({ camera, event: event.id, frame: event.sequence ?? "" });
    button.append(element("img", "", { src: `thumbnail?${asked}`, alt: "", loading: "lazy" }));
  } else button.append(element("i", "picture not kept", { class: "none" }));
  const words = element("span");
  const lasted = event.state === "closed" ? `lasted ${number(event.duration_s, 1)} s` : "open now";
  const score = [`score ${number(event.score)}`, `limit ${number(event.threshold)}`];
  words.append(element("b", time(event.opened_at)));
  for (const text of [lasted, ...score, event.zone]) if (text) words.append(element("div", text));
  button.append(words);
  button.disabled = event.sequence == null;
  button.addEventListener("click", () => open(event.id));
  return button;
}

const SAID = { good: "good", defect: "a defect", undo: "taken back" };

export function showLessons(list, lessons, undo) {
  if (!changed(list, lessons)) return;
  list.replaceChildren(
    ...lessons.map((lesson) => {
      const words = [time(lesson.at * 1000), lesson.picture, `${SAID[lesson.kind]}, by ${lesson.who}`];
      const what = words.filter(Boolean).join(": ");
      const line = element("li");
      line.append(element("span", what, lesson.undone ? { class: "undone" } : {}));
      if (canUndo(lesson)) {
        const button = element("button", "Undo", { type: "button", "aria-label": `Undo ${lesson.picture}` });
        button.addEventListener("click", () => undo(lesson));
        line.append(button);
      }
      return line;
    }),
  );
}

function canUndo(lesson) {
  return lesson.kind !== "undo" && !lesson.undone;
}

// The lesson that "Undo" takes back.
export function lastLesson(lessons) {
  return lessons.find(canUndo);
}

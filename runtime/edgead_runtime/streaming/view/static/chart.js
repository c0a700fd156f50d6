// Score and latency over time, and the threshold as a line that can be taken hold of.

const SHORTEST_SPAN_S = 60; // of the time axis; more where frames are rare
const FEWEST_POINTS = 40;
const KEPT = 3600;
const PADDING = { top: 8, bottom: 18 };
const LEFT = 34; // for the numbers of the axis
const COMMIT_AFTER_MS = 600;

// A point is [seconds, score or null, milliseconds, flags]; flags: 1 anomaly, 2 late, 4 degraded.
export const [ANOMALY, LATE] = [1, 2];

export class Points {
  constructor() {
    this.all = [];
  }

  take(points, afresh) {
    this.all = afresh ? points : this.all.concat(points).slice(-KEPT);
  }

  // Those on the time axis, and its span in seconds.
  recent() {
    const last = this.all.at(-1);
    if (!last) return { points: [], span: SHORTEST_SPAN_S, end: 0 };
    const first = this.all[Math.max(0, this.all.length - FEWEST_POINTS)];
    const span = Math.max(SHORTEST_SPAN_S, last[0] - first[0]);
    return { points: this.all.filter(([time]) => time >= last[0] - span), span, end: last[0] };
  }
}

export class Chart {
  // `value` takes a point's number, `hot` says whether it is drawn as bad.
  // `right` is what is left free for the threshold's handle, in pixels.
  constructor(canvas, { value, hot, right = 4, ticks = 3 }) {
    Object.assign(this, { canvas, value, hot, right, ticks, top: 0, frozen: false, end: "now" });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  update(recent, line) {
    Object.assign(this, { recent, line });
    const largest = Math.max(0, ...recent.points.map((point) => this.value(point) ?? 0));
    const wanted = Math.max(largest * 1.1, (line ?? 0) * 1.6) || 1;
    // Up at once, down only where much is empty: an axis that breathes cannot be read.
    if (!this.frozen && (wanted > this.top || wanted < this.top * 0.75)) this.top = wanted;
    this.draw();
  }

  y(value) {
    const room = this.canvas.clientHeight - PADDING.top - PADDING.bottom;
    return PADDING.top + room * (1 - Math.min(1, value / this.top));
  }

  valueAt(y) {
    const room = this.canvas.clientHeight - PADDING.top - PADDING.bottom;
    return Math.min(1, Math.max(0, 1 - (y - PADDING.top) / room)) * this.top;
  }

  draw() {
    const { canvas, recent } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!recent || !width) return;
    const sharp = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * sharp), height: Math.round(height * sharp) });
    const brush = canvas.getContext("2d");
    brush.scale(sharp, sharp);
    const color = (name) => getComputedStyle(canvas).getPropertyValue(name);
    const floor = height - PADDING.bottom;
    brush.fillStyle = color("--line");
    brush.fillRect(0, floor, width, 1);
    brush.font = "11px system-ui, sans-serif";
    brush.fillStyle = color("--soft");
    brush.fillText(`${words(recent.span)} ago`, LEFT - 6, height - 4);
    brush.textAlign = "right";
    brush.fillText(this.end, width - this.right + 4, height - 4);
    brush.textAlign = "left";
    for (const value of round(this.top, this.ticks)) {
      brush.fillStyle = color("--line");
      brush.fillRect(0, this.y(value), width, 1);
      brush.fillStyle = color("--soft");
      brush.fillText(String(value), 0, this.y(value) - 3, LEFT - 6);
    }
    if (this.drawsLine && this.line != null) {
      brush.fillStyle = color("--bad");
      brush.fillRect(0, this.y(this.line) - 1, width, 2);
    }
    const colors = [color("--point"), color("--bad"), color("--warn")];
    const radius = recent.points.length > 400 ? 1.6 : 2.6;
    for (const point of recent.points) {
      const value = this.value(point);
      const x = (1 - (recent.end - point[0]) / recent.span) * (width - this.right - LEFT) + LEFT;
      brush.fillStyle = value == null ? colors[2] : colors[this.hot(point) ? 1 : 0];
      brush.beginPath();
      // One that was not inspected is a mark on the floor.
      if (value == null) brush.rect(x - 1, floor - 8, 2, 8);
      else brush.arc(x, this.y(value), radius, 0, 7);
      brush.fill();
    }
  }
}

export function words(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// At most so many round values between 0 and the top of an axis.
function round(top, count) {
  const size = 10 ** Math.floor(Math.log10(top / count));
  const step = size * [1, 2, 5, 10].find((times) => times * size * (count + 1) > top);
  return Array.from({ length: count }, (_, index) => Number(((index + 1) * step).toPrecision(3))).filter(
    (value) => value < top * 0.97,
  );
}

// The line over a chart, for mouse, finger and keyboard. `moved` hears of each step, `set` of the last one.
export class ThresholdLine {
  constructor(element, chart, { moved, set }) {
    Object.assign(this, { element, chart, moved, set, held: null });
    element.addEventListener("pointerdown", (event) => this.take(event));
    element.addEventListener("pointermove", (event) => this.held != null && this.drag(event));
    element.addEventListener("pointerup", () => this.leave(true));
    element.addEventListener("pointercancel", () => this.leave(false));
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("blur", () => this.leave(true));
  }

  // `movable` is false where it is only to be seen.
  place(value, movable) {
    this.element.hidden = value == null;
    if (value == null) return;
    this.element.classList.toggle("fixed", !movable);
    this.movable = movable;
    this.value = value;
    const shown = this.held ?? value;
    this.element.style.top = `${this.chart.y(shown)}px`;
    this.element.lastElementChild.textContent = shown.toPrecision(3);
    const facts = {
      role: "slider",
      tabindex: movable ? "0" : "-1",
      "aria-orientation": "vertical",
      "aria-label": "Threshold: arrow keys move it",
      "aria-valuemin": "0",
      "aria-valuemax": this.chart.top.toPrecision(3),
      "aria-valuenow": shown.toPrecision(3),
    };
    for (const [name, fact] of Object.entries(facts)) this.element.setAttribute(name, fact);
  }

  take(event) {
    if (!this.movable) return;
    this.element.setPointerCapture(event.pointerId);
    this.offset = event.clientY - this.element.getBoundingClientRect().top - this.element.clientHeight / 2;
    this.move(this.value);
  }

  drag(event) {
    if (!this.element.hasPointerCapture(event.pointerId)) return;
    this.move(this.chart.valueAt(event.clientY - this.chart.canvas.getBoundingClientRect().top - this.offset));
  }

  key(event) {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (event.key === "Escape") this.leave(false);
    if (event.key === "Enter") this.leave(true);
    if (!steps || !this.movable) return;
    event.preventDefault();
    const wanted = (this.held ?? this.value) + (steps * this.chart.top) / 100;
    this.move(Math.min(this.chart.top, Math.max(0, wanted)));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.leave(true), COMMIT_AFTER_MS);
  }

  move(value) {
    this.held = value;
    this.chart.frozen = true;
    this.place(this.value, this.movable);
    this.moved(value);
  }

  leave(meant) {
    clearTimeout(this.timer);
    if (this.held == null) return;
    const value = Number(this.held.toPrecision(4));
    const changed = this.held !== this.value;
    this.held = null;
    this.chart.frozen = false;
    this.moved(null);
    if (meant && changed) this.set(value);
    else this.place(this.value, this.movable);
  }
}

// A picture with its heat map and boxes. The colors are those of the reports, on the same scale.

export const PALETTE = [
  "#9511a1", "#ad2793", "#c33d80", "#d5546e", "#e56b5d", "#f2844b", "#fb9f3a", "#febd2a", "#f8df25",
];
const FULL_SCALE = 2.0; // multiple of the limit for a spot that the number 255 stands for
const SHOWN_FROM = 0.5;
const MAX_OPACITY = 0.6;
const SMALLEST_PX = 900; // boxes on a small picture are to be thin all the same

// For each number of the map its color and opacity.
const PAINT = Array.from({ length: 256 }, (_, number) => {
  const level = Math.min(1, Math.max(0, ((number / 255) * FULL_SCALE - SHOWN_FROM) / (FULL_SCALE - SHOWN_FROM)));
  const place = level * (PALETTE.length - 1);
  const below = channels(PALETTE[Math.floor(place)]);
  const above = channels(PALETTE[Math.ceil(place)]);
  const atLimit = (1 - SHOWN_FROM) / (FULL_SCALE - SHOWN_FROM);
  return [
    ...below.map((value, index) => value + (above[index] - value) * (place % 1)),
    255 * MAX_OPACITY * Math.min(1, level / atLimit),
  ];
});

function channels(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

// From the loop's message (see painting.py): what is said of the picture, the picture, and the map.
export async function decode(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  let bitmap = null;
  if (about.jpeg > 0) {
    bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, start, about.jpeg)], { type: "image/jpeg" }));
  }
  const heat = about.heat ? new Uint8Array(buffer, start + about.jpeg) : null;
  return { about, bitmap, heat };
}

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.showHeat = this.showBoxes = true;
    this.shown = null;
  }

  show(decoded) {
    this.shown?.bitmap?.close();
    this.shown = decoded;
    this.draw();
  }

  draw() {
    if (!this.shown) return;
    if (!this.shown.bitmap) {
      // Nothing was captured: an earlier picture must not look like this one.
      this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
      return;
    }
    const { about, bitmap, heat } = this.shown;
    const times = Math.max(1, Math.ceil(SMALLEST_PX / Math.max(bitmap.width, bitmap.height)));
    const [width, height] = [bitmap.width * times, bitmap.height * times];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.canvas.style.setProperty("--aspect", `${width} / ${height}`);
    }
    const brush = this.canvas.getContext("2d");
    brush.imageSmoothingQuality = "high";
    brush.drawImage(bitmap, 0, 0, width, height);
    if (this.showHeat && heat) brush.drawImage(painted(heat, about.heat), 0, 0, width, height);
    if (this.showBoxes) this.box(brush, about, width / about.size[0]);
  }

  box(brush, about, scale) {
    const thickness = Math.max(2, Math.round(Math.max(this.canvas.width, this.canvas.height) / 320));
    for (const [x, y, width, height] of about.boxes ?? []) {
      for (const [color, line] of [["#1e1e1e", thickness + 2], ["#ffffff", thickness]]) {
        brush.strokeStyle = color;
        brush.lineWidth = line;
        brush.strokeRect(x * scale, y * scale, width * scale, height * scale);
      }
    }
  }
}

function painted(heat, [width, height]) {
  const pixels = new ImageData(width, height);
  heat.forEach((number, place) => pixels.data.set(PAINT[number], 4 * place));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

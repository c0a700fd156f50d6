// What is said over the picture: good or bad, and whether that is of now.

import { words } from "./chart.js";
import { number, STANDS_S } from "./lists.js";

const OLD_S = 5; // what is older says how old it is

// Why nothing new is seen, in words; null while there may be. With a trigger it is no fault that no part comes.
export function whyNotLive(state, connected) {
  if (!connected) return "no connection to the loop";
  const troubles = state.stats?.troubles ?? {};
  if ("source failed" in troubles) return "the camera has ended";
  if ("lost" in troubles || "stalled" in troubles) return "nothing comes from the camera";
  return state.standing_s > STANDS_S ? "the loop stands still" : null;
}

export class Verdict {
  // `place` has a title and a detail, `failure` is shown over the picture, `stage` is what may look old.
  constructor(place, failure, stage) {
    Object.assign(this, { place, failure, stage, title: place.firstElementChild, detail: place.lastElementChild });
  }

  // `about`: what came with the picture. `limit`: judge it by this one instead of its own, which is `tried` where
  // a person has it in hand; `current` is the threshold of the full setting. `why`: it is not of now.
  show(about, { limit, current, tried, why, age_s }) {
    const [kind, title, detail] = about.inspected ? judged(about, limit, current) : UNSEEN;
    const age = `${words(age_s)} ago`;
    this.stage.classList.toggle("stale", why != null);
    this.failure.hidden = about.inspected;
    this.failure.textContent = about.inspected ? "" : (about.failure ?? "");
    if (why != null) {
      // An old verdict must not look like one of now.
      this.say("unseen", "NOT LIVE", `${why}; the last picture, ${age}, was ${title}`);
    } else {
      const remarks = [...(tried ? [" (if the line stays here)"] : []), ...(age_s > OLD_S ? [`, ${age}`] : [])];
      this.say(kind, title, detail + remarks.join(""));
    }
  }

  say(kind, title, detail) {
    this.place.className = `verdict ${kind}`;
    // Only what changed, so that a screen reader says a verdict when there is a new one.
    if (this.title.textContent !== title) this.title.textContent = title;
    this.detail.textContent = detail;
  }
}

const UNSEEN = ["unseen", "NOT INSPECTED", "neither good nor bad"];

function judged(about, limit, current) {
  const [score, threshold] = onScale(about, limit, current);
  const anomaly = limit == null ? about.anomaly : !(score != null && score <= threshold);
  const detail = `score ${number(score)}, ${anomaly ? "over" : "within"} ${number(threshold)}`;
  return anomaly ? ["anomaly", "ANOMALY", detail] : ["ok", "OK", detail];
}

// Score and threshold of a frame, in the unit of the full setting where a limit is given in it.
function onScale(about, limit, current) {
  if (limit == null) return [about.score, about.threshold];
  const faster = about.degraded.length > 0 && about.score != null && about.threshold > 0;
  return [faster ? (about.score / about.threshold) * current : about.score, limit];
}

// The connection to the loop: one WebSocket for pictures and state, and requests for what the buttons do.

const LONGEST_WAIT_MS = 8000;
const OTHER_RUN = 409;

export class Link {
  // `told` gets objects, `pictures` gets ArrayBuffers, `changed` gets true or false and a reason, `shut` is called
  // where the loop asks for a token that this page does not have (it makes one at each start).
  constructor({ told, pictures, changed, shut }) {
    Object.assign(this, { told, pictures, changed, shut });
    this.waitMs = 500;
    this.open();
  }

  open() {
    const address = new URL("live", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = "";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    let came = false;
    this.socket.onopen = () => {
      came = true;
      this.waitMs = 500;
      this.changed(true, "");
    };
    this.socket.onmessage = ({ data }) =>
      typeof data === "string" ? this.told(JSON.parse(data)) : this.pictures(data);
    this.socket.onclose = ({ reason }) => {
      this.changed(false, reason);
      if (!came) this.askWhy();
      setTimeout(() => this.open(), this.waitMs);
      this.waitMs = Math.min(LONGEST_WAIT_MS, this.waitMs * 2);
    };
  }

  // A browser does not tell why a WebSocket was refused.
  async askWhy() {
    const answer = await fetch("./", { method: "HEAD" }).catch(() => null);
    if (answer?.status === 401) this.shut();
  }

  say(what) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(what));
  }
}

// Resolves to what was answered, or throws an Error with the problem and what to do.
export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The loop does not answer. It is tried again when the connection is back.");
  }
  const said = await answer.json().catch(() => ({ problem: `the answer was ${answer.status}`, remedy: "" }));
  if (!answer.ok) {
    const error = new Error(sentence(`${said.problem}. ${said.remedy}`));
    error.otherRun = answer.status === OTHER_RUN;
    throw error;
  }
  return said;
}

export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

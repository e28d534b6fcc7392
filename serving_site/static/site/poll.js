// Follows one prediction: asks often at first, then less and less, never from a hidden tab.
// The server answers 304 while nothing changed; a final answer carries no data-poll, which ends it.
import { refreshTimes } from "./times.js";

const FIRST_MS = 300;
const LONGEST_MS = 5000;
const GROWTH = 1.35;

let etag = "";
let interval = FIRST_MS;
let timer = 0;

function current() {
  return document.querySelector("[data-poll]");
}

function announce(text) {
  const region = document.getElementById("announcer");
  if (region && text && region.textContent !== text) region.textContent = text;
}

function swap(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fresh = parsed.querySelector("#prediction");
  const old = document.getElementById("prediction");
  if (!fresh || !old) return;
  // A person reading or typing inside keeps their place: the focus moves only if it was in here.
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceWith(document.adoptNode(fresh));
  if (focused) (document.getElementById(focused) ?? fresh).focus({ preventScroll: true });
  if (fresh.dataset.title) document.title = fresh.dataset.title;
  announce(fresh.dataset.announce);
  refreshTimes();
}

function later() {
  clearTimeout(timer);
  if (!document.hidden && current()) timer = setTimeout(ask, interval);
}

async function ask() {
  const target = current();
  if (!target) return;
  try {
    const headers = etag ? { "If-None-Match": etag } : {};
    const answer = await fetch(target.dataset.poll, { headers, cache: "no-store", credentials: "same-origin", redirect: "manual" });
    if (answer.status === 200) {
      etag = answer.headers.get("ETag") ?? "";
      swap(await answer.text());
    } else if (answer.type === "opaqueredirect" || answer.status === 404 || answer.status === 403) {
      // Logged out or deleted elsewhere: the page itself knows what to say.
      location.reload();
      return;
    }
    document.getElementById("offline")?.setAttribute("hidden", "");
  } catch {
    document.getElementById("offline")?.removeAttribute("hidden");
  }
  interval = Math.min(interval * GROWTH, LONGEST_MS);
  later();
}

export function watchStatus() {
  if (!current()) return;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) {
      interval = FIRST_MS;
      ask();
    }
  });
  later();
}

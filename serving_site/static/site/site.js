// What every page needs: menus that close, forms that are sent once, times that say how long ago.
import { watchDrops } from "./drop.js";
import { watchPads } from "./draw.js";
import { watchStatus } from "./poll.js";
import { watchTimes } from "./times.js";

function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (event.type === "keydown" && event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (event.type === "click" && !menu.contains(event.target)) {
      menu.open = false;
    }
  }
}

// However often a form is sent, the first time counts; the server's key is the safety net behind this.
function sendOnce(event) {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "true";
  const button = event.submitter ?? form.querySelector("[type=submit]");
  if (!button) return;
  // After this turn, so that the button's own name and value still travel.
  setTimeout(() => {
    button.disabled = true;
    if (button.dataset.busy) button.querySelector(".text").textContent = button.dataset.busy;
  });
}

// The page comes back from the browser's memory: let its forms be sent again, with a fresh key.
function wakeForms(event) {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[type=submit][disabled]")) {
      button.disabled = false;
      if (button.dataset.idle) button.querySelector(".text").textContent = button.dataset.idle;
    }
    const key = form.querySelector("input[name=_key]");
    if (key && crypto.randomUUID) key.value = crypto.randomUUID();
  }
}

function sendByKeyboard(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = document.querySelector("form[data-main]");
  if (form) form.requestSubmit();
}

document.addEventListener("click", closeMenus);
document.addEventListener("keydown", closeMenus);
document.addEventListener("keydown", sendByKeyboard);
document.addEventListener("submit", sendOnce);
addEventListener("pageshow", wakeForms);
document.querySelector("[data-focus]")?.focus();
watchDrops();
watchPads();
watchTimes();
watchStatus();

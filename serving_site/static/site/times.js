// Times as people say them ("3 minutes ago"), and seconds that count while something runs.
const STEPS = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(seconds) {
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return words.format(-Math.round(seconds / size), unit);
  }
  return "just now";
}

function show(element) {
  const passed = (Date.now() - Date.parse(element.dateTime)) / 1000;
  if (element.dataset.time === "ago") element.textContent = ago(passed);
}

// Counted from the server's own figure: the visitor's clock may be wrong.
function count(element) {
  element.dataset.from ??= String(performance.now() - Number(element.dataset.elapsed) * 1000);
  const seconds = Math.floor((performance.now() - Number(element.dataset.from)) / 1000);
  element.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function refreshTimes() {
  document.querySelectorAll("time[data-time]").forEach(show);
  document.querySelectorAll("[data-elapsed]").forEach(count);
}

export function watchTimes() {
  refreshTimes();
  setInterval(() => document.hidden || refreshTimes(), 1000);
}

// A picture field: drop on it, paste anywhere, or use the plain file button that is always there.
const KINDS = ["image/png", "image/jpeg", "image/webp"];

export function takeFile(zone, file) {
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const input = zone.querySelector("input[type=file]");
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

export function forgetFile(zone) {
  const input = zone.querySelector("input[type=file]");
  input.value = "";
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

function problem(zone, file) {
  const limit = Number(zone.dataset.limit);
  if (file.type && !KINDS.includes(file.type)) return `${file.name} is not a PNG, JPEG or WebP picture.`;
  if (limit && file.size > limit) return `${file.name} has ${(file.size / 1048576).toFixed(1)} MB; at most ${Math.floor(limit / 1048576)} MB are accepted.`;
  return "";
}

function showKept(zone, file) {
  const kept = zone.querySelector("input[data-kept]");
  const preview = zone.querySelector("img.preview");
  const name = zone.querySelector(".file-name");
  if (preview.dataset.url) URL.revokeObjectURL(preview.dataset.url);
  preview.hidden = !file && !kept?.value;
  if (file) {
    preview.dataset.url = URL.createObjectURL(file);
    preview.src = preview.dataset.url;
    if (kept) kept.value = "";
  }
  name.textContent = file ? file.name : "";
  zone.querySelector("[data-forget]").hidden = preview.hidden;
}

function changed(zone) {
  const input = zone.querySelector("input[type=file]");
  const file = input.files[0];
  const trouble = file ? problem(zone, file) : "";
  const message = zone.querySelector("[data-trouble]");
  message.textContent = trouble;
  message.hidden = !trouble;
  if (trouble) {
    input.value = "";
    showKept(zone, null);
    return;
  }
  showKept(zone, file);
}

function watch(zone) {
  const input = zone.querySelector("input[type=file]");
  const preview = zone.querySelector("img.preview");
  input.addEventListener("change", () => changed(zone));
  preview.addEventListener("load", () => preview.classList.toggle("tiny", preview.naturalWidth < 100));
  preview.classList.toggle("tiny", preview.complete && preview.naturalWidth > 0 && preview.naturalWidth < 100);
  zone.querySelector("[data-forget]").addEventListener("click", () => {
    const kept = zone.querySelector("input[data-kept]");
    if (kept) kept.value = "";
    forgetFile(zone);
    zone.dispatchEvent(new CustomEvent("forgotten", { bubbles: true }));
    input.focus();
  });
  for (const kind of ["dragover", "dragenter"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    if (file) takeFile(zone, file);
  });
}

export function watchDrops() {
  const zones = [...document.querySelectorAll("[data-drop]")];
  zones.forEach(watch);
  if (!zones.length) return;
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => KINDS.includes(each.type));
    if (!file) return;
    event.preventDefault();
    takeFile(zones.find((zone) => zone.contains(document.activeElement)) ?? zones[0], file);
  });
  // The whole page is a target: a picture dropped beside the field must not replace the page.
  const brings = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => brings(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!brings(event) || event.defaultPrevented) return;
    event.preventDefault();
    if (event.dataTransfer.files[0]) takeFile(zones[0], event.dataTransfer.files[0]);
  });
}
